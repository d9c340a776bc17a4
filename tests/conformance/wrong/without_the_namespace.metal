// undeclared: MSL 6, the library lives in namespace metal
#include <metal_stdlib>
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = fmax(x[i], 1.0f); }
