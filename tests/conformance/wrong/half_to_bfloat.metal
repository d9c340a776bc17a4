// conversion: MSL 2.1, half and bfloat do not convert into each other by themselves
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { half h = half(x[i]); bfloat b = h; x[i] = float(b); }
