// Sums within simdgroups, then over them.
#include <metal_stdlib>
using namespace metal;
kernel void simd_reduce(device const float* x [[buffer(0)]], device float* out [[buffer(1)]],
                        uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                        uint group [[simdgroup_index_in_threadgroup]], uint groups [[simdgroups_per_threadgroup]],
                        uint g [[threadgroup_position_in_grid]]) {
  threadgroup float partial[32];
  float sum = simd_sum(x[i]);
  if (lane == 0) partial[group] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (group == 0) {
    sum = simd_sum(lane < groups ? partial[lane] : 0.0f);
    if (lane == 0) out[g] = sum;
  }
}
