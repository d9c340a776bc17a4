// address-space: MSL 4, reinterpret_cast does not change an address space
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { thread uint* t = reinterpret_cast<thread uint*>(x); x[i] = t[0]; }
