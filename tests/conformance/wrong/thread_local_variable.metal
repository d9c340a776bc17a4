// cplusplus: MSL 1.4, no thread_local
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { thread_local int calls; x[i] = 1.0f; }
