// barrier: undefined, MSL 6.9.1: all threads come to a barrier, in a helper as well
#include <metal_stdlib>
using namespace metal;
inline void wait() { threadgroup_barrier(mem_flags::mem_threadgroup); }
kernel void f(device float* x [[buffer(0)]], constant int* p [[buffer(1)]], uint i [[thread_position_in_grid]], uint l [[thread_index_in_threadgroup]]) { threadgroup float t[64]; t[l] = x[i]; bool first = l == 0; if (first) wait(); x[i] = t[63 - l]; }
