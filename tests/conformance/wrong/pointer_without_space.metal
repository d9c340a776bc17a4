// address-space: MSL 4, a pointer argument of a helper needs an address space
#include <metal_stdlib>
using namespace metal;
inline float first(float* v) { return v[0]; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float v[2]; v[0] = 1.0f; x[i] = first(v); }
