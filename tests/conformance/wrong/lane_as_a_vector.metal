// attribute: MSL 5.2.3.6, the index in a simdgroup is a scalar
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint2 lane [[thread_index_in_simdgroup]]) { x[lane.x] = 1.0f; }
