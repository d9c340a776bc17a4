// address-space: MSL 4, a returned pointer needs an address space
#include <metal_stdlib>
using namespace metal;
inline float* same(device float* x) { return x; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = same(x)[0]; }
