// address-space: MSL 4, in an instantiated template as well
#include <metal_stdlib>
using namespace metal;
template <class T> inline T first(const threadgroup T* v) { return v[0]; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = first<float>(x); }
