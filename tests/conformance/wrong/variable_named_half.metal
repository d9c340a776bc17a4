// name-collision: MSL 2.1, half is a type
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { int half = 3; x[i] = half; }
