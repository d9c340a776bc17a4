// Rows of a softmax, in float32 whatever is stored.
#include <metal_stdlib>
using namespace metal;
template <typename T>
[[kernel]] void softmax(const device T* in [[buffer(0)]], device T* out [[buffer(1)]], constant int& size [[buffer(2)]],
                        uint row [[threadgroup_position_in_grid]], uint l [[thread_position_in_threadgroup]],
                        uint lane [[thread_index_in_simdgroup]], uint group [[simdgroup_index_in_threadgroup]],
                        uint count [[threads_per_threadgroup]]) {
  threadgroup float maxima[32];
  threadgroup float sums[32];
  in += row * size;
  out += row * size;
  if (group == 0) {
    maxima[lane] = -INFINITY;
    sums[lane] = 0;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float top = -numeric_limits<float>::max();
  for (int i = l; i < size; i += count) top = metal::max(top, float(in[i]));
  top = simd_max(top);
  if (lane == 0) maxima[group] = top;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  top = simd_max(maxima[lane]);
  float sum = 0;
  for (int i = l; i < size; i += count) sum += metal::exp(float(in[i]) - top);
  sum = simd_sum(sum);
  if (lane == 0) sums[group] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  sum = simd_sum(sums[lane]);
  for (int i = l; i < size; i += count) out[i] = T(metal::exp(float(in[i]) - top) / sum);
}
template [[host_name("softmax_half")]] [[kernel]] decltype(softmax<half>) softmax<half>;
