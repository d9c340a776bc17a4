// vector: MSL 2.2, .xyzw and .rgba do not mix
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float4 v = float4(1.0f); x[i] = v.xg.x; }
