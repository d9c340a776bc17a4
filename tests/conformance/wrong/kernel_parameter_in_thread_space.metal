// kernel-parameter: MSL 4, a kernel's pointer is device, constant or threadgroup
#include <metal_stdlib>
using namespace metal;
kernel void f(thread float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = 1.0f; }
