// barrier: undefined, MSL 6.9.1: all threads come to a barrier equally often
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], constant int* p [[buffer(1)]], uint i [[thread_position_in_grid]], uint l [[thread_index_in_threadgroup]]) { threadgroup float t[64]; for (int k = 0; k < p[0]; ++k) { t[l] = x[i]; if (t[l] > 1.0f) break; threadgroup_barrier(mem_flags::mem_threadgroup); } x[i] = t[63 - l]; }
