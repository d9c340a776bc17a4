// address-space: MSL 4.2, a device pointer is no constant pointer
#include <metal_stdlib>
using namespace metal;
inline float first(constant float* v) { return v[0]; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = first(x); }
