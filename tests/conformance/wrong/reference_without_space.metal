// address-space: MSL 4, a reference argument of a helper needs an address space
#include <metal_stdlib>
using namespace metal;
inline void bump(float& v) { v += 1.0f; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float v = x[i]; bump(v); x[i] = v; }
