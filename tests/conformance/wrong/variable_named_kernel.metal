// name-collision: MSL 5, kernel is a keyword
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { int kernel = 3; x[i] = kernel; }
