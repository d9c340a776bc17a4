// conversion: MSL 2.2, a vector is no scalar
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float2 v = float2(1.0f); float s = v; x[i] = s; }
