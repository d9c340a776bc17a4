// vector: MSL 2.2, float2 takes two components
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float2 v = float2(1.0f, 2.0f, 3.0f); x[i] = v.x; }
