// vector: MSL 2.2, a component is written once
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float4 v = float4(1.0f); v.xx = float2(1.0f, 2.0f); x[i] = v.x; }
