// address-space: MSL 4, no cast changes an address space
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup float* t = (threadgroup float*)x; x[i] = t[0]; }
