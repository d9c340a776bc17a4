// attribute: MSL 5.2.3.6, positions have one width
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint2 i [[thread_position_in_grid]], uint n [[threads_per_threadgroup]]) { x[i.x] = n; }
