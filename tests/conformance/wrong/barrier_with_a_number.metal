// type: MSL 6.9.1, mem_flags is an enumeration class
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup_barrier(2); x[i] = 1.0f; }
