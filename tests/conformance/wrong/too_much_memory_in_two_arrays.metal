// threadgroup-memory: Metal Feature Set Tables, 32 KB of threadgroup memory
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup float2 a[2048]; threadgroup float2 b[2049]; a[i] = x[i]; b[i] = x[i]; threadgroup_barrier(mem_flags::mem_threadgroup); x[i] = a[0].x + b[0].x; }
