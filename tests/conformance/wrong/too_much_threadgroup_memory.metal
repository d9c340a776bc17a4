// threadgroup-memory: Metal Feature Set Tables, 32 KB of threadgroup memory
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup float t[8193]; t[i] = x[i]; threadgroup_barrier(mem_flags::mem_threadgroup); x[i] = t[0]; }
