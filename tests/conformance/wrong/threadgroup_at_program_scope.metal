// threadgroup-variable: MSL 4.4, threadgroup variables are declared in kernels
#include <metal_stdlib>
using namespace metal;
threadgroup float t[32];
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { t[i % 32] = x[i]; }
