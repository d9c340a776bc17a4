// type: MSL 6.5, mix takes three arguments
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = mix(x[i], 1.0f); }
