// threadgroup-memory: Metal Feature Set Tables, 32 KB of threadgroup memory
#include <metal_stdlib>
using namespace metal;
template <class T, int N> kernel void f(device T* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup T t[N]; t[i] = x[i]; threadgroup_barrier(mem_flags::mem_threadgroup); x[i] = t[0]; }
template [[host_name("f_float")]] [[kernel]] decltype(f<float, 9000>) f<float, 9000>;
