// threadgroup-variable: MSL 4.4, threadgroup variables are declared in kernels
#include <metal_stdlib>
using namespace metal;
inline void g(device float* x, uint i) { threadgroup float t[32]; t[i % 32] = x[i]; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { g(x, i); }
