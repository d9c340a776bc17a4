// Positions of three components.
#include <metal_stdlib>
using namespace metal;
kernel void volume(device float* x [[buffer(0)]], constant uint3& size [[buffer(1)]], uint3 p [[thread_position_in_grid]],
                   uint3 l [[thread_position_in_threadgroup]], uint3 n [[threads_per_grid]], uint k [[thread_index_in_threadgroup]]) {
  if (any(p >= size)) return;
  x[(p.z * size.y + p.y) * size.x + p.x] = float(l.x + n.y + k);
}
