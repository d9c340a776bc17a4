// conversion: MSL 2.1, float becomes bfloat by a cast only
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float v = x[i]; bfloat b = v; x[i] = float(b); }
