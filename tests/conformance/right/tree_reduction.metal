// A sum over a threadgroup, halving; the barrier is outside the condition.
#include <metal_stdlib>
using namespace metal;
[[max_total_threads_per_threadgroup(256)]]
kernel void reduce(device const float* x [[buffer(0)]], device float* sums [[buffer(1)]], constant uint& n [[buffer(2)]],
                   uint i [[thread_position_in_grid]], uint l [[thread_index_in_threadgroup]],
                   uint g [[threadgroup_position_in_grid]], uint size [[threads_per_threadgroup]]) {
  threadgroup float shared[256];
  shared[l] = i < n ? x[i] : 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint half_size = size / 2; half_size > 0; half_size /= 2) {
    if (l < half_size) shared[l] += shared[l + half_size];
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (l == 0) sums[g] = shared[0];
}
