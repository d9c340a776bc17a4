// address-space: MSL 4, a kernel's pointer needs device or constant
#include <metal_stdlib>
using namespace metal;
kernel void f(float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = 1.0f; }
