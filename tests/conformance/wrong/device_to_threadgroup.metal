// address-space: MSL 4, a device pointer is no threadgroup pointer
#include <metal_stdlib>
using namespace metal;
inline float first(threadgroup float* v) { return v[0]; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = first(x); }
