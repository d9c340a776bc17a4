// conversion: MSL 2.2, vectors do not convert by themselves
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { int2 n = int2(1, 2); float2 v = n; x[i] = v.x; }
