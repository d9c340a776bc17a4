// address-space: MSL 4, pointers do not change their address space
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { thread float* p = x; p[i] = 1.0f; }
