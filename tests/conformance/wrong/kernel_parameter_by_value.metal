// kernel-parameter: MSL 5.2, a plain value has no buffer to come from
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], float scale, uint i [[thread_position_in_grid]]) { x[i] *= scale; }
