// address-space: MSL 4, both branches have one address space
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup float t[4]; t[i % 4] = 0.0f; device float* p = i > 2 ? x : t; x[i] = p[0]; }
