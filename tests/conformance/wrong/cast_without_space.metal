// address-space: MSL 4, a cast to a pointer names an address space
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float v[4]; v[0] = 1.0f; x[i] = ((float*)v)[0]; }
