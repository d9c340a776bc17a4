// barrier: undefined, MSL 6.9.1: all threads come to a barrier, whatever an argument says
#include <metal_stdlib>
using namespace metal;
inline void wait(bool needed) { if (needed) threadgroup_barrier(mem_flags::mem_threadgroup); }
kernel void f(device float* x [[buffer(0)]], constant int* p [[buffer(1)]], uint i [[thread_position_in_grid]], uint l [[thread_index_in_threadgroup]]) { threadgroup float t[64]; t[l] = x[i]; wait(l % 2 == 0); x[i] = t[63 - l]; }
