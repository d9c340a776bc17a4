// conversion: MSL 2.2, vectors do not convert by themselves
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { half2 h = half2(1.0h); float2 v = h; x[i] = v.x; }
