// syntax: MSL 1.4, by C++14's grammar a statement ends in one
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = 1.0f }
