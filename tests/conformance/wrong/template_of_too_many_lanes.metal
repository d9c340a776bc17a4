// threadgroup-memory: Metal Feature Set Tables, 32 KB of threadgroup memory, counted where a template is filled in
#include <metal_stdlib>
using namespace metal;
template <int LANES> struct Plan { static constant constexpr int values = LANES * 16; };
template <int LANES>
kernel void f(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float shared[Plan<LANES>::values];
  shared[i] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = shared[LANES - 1 - i];
}
template [[host_name("wide")]] kernel void f<1024>(device float*, uint);
