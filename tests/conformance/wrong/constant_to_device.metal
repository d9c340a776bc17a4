// address-space: MSL 4.2, a constant pointer is no device pointer
#include <metal_stdlib>
using namespace metal;
inline float first(const device float* v) { return v[0]; }
kernel void f(device float* x [[buffer(0)]], constant float* c [[buffer(1)]], uint i [[thread_position_in_grid]]) { x[i] = first(c); }
