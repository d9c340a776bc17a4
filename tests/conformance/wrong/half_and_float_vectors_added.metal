// conversion: MSL 3.1, operands are vectors of one type
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { half2 h = half2(1.0h); float2 v = float2(1.0f); x[i] = (v + h).x; }
