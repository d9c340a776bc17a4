// barrier: undefined, MSL 6.9.1: all threads come to a barrier
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], constant int* p [[buffer(1)]], uint i [[thread_position_in_grid]], uint l [[thread_index_in_threadgroup]]) { threadgroup float t[64]; if (i >= uint(p[0])) return; t[l] = x[i]; threadgroup_barrier(mem_flags::mem_threadgroup); x[i] = t[63 - l]; }
