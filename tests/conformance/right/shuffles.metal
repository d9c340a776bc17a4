// A prefix sum by shuffles.
#include <metal_stdlib>
using namespace metal;
kernel void scan(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  float v = x[i];
  for (ushort step_size = 1; step_size < 32; step_size *= 2) {
    const float before = simd_shuffle_up(v, step_size);
    if (lane >= step_size) v += before;
  }
  x[i] = simd_shuffle_xor(v, 1) + simd_broadcast(v, 31) + simd_prefix_inclusive_sum(v) + float(simd_ballot(v > 0).any());
}
