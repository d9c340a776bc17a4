// vector: MSL 2.2, vectors in a constructor have its element type
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { half2 h = half2(1.0h); float4 v = float4(h, h); x[i] = v.x; }
