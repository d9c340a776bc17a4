// buffer-index: MSL 5.2.1, indices are unique
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], device float* y [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = y[i]; }
