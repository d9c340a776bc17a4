// address-space: MSL 4, a threadgroup array is no device pointer
#include <metal_stdlib>
using namespace metal;
inline float first(const device float* v) { return v[0]; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup float t[4]; t[i % 4] = 1.0f; threadgroup_barrier(mem_flags::mem_threadgroup); x[i] = first(t); }
