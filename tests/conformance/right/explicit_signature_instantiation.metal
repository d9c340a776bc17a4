// An instantiation that repeats the parameters.
#include <metal_stdlib>
using namespace metal;
template <typename T, int N> [[kernel]] void fill(device T* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  threadgroup T tile[N];
  tile[i % N] = T(i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = tile[(i + 1) % N];
}
template [[host_name("fill_int_64")]] [[kernel]] void fill<int, 64>(device int*, uint);
