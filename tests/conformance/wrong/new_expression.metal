// cplusplus: MSL 1.4, no new
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { thread float* p = new float[2]; x[i] = p[0]; }
