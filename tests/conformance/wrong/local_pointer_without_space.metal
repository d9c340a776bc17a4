// address-space: MSL 4, a pointer variable needs the address space of what it points to
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float v[4]; float* p = v; p[0] = 1.0f; x[i] = p[0]; }
