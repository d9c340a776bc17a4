// address-space: MSL 4, a reference binds to its own address space only
#include <metal_stdlib>
using namespace metal;
inline void bump(thread float& v) { v += 1.0f; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { bump(x[i]); }
