// A histogram: atomics in threadgroup and device memory.
#include <metal_stdlib>
using namespace metal;
kernel void histogram(device const uchar* x [[buffer(0)]], device atomic_uint* bins [[buffer(1)]], constant uint& n [[buffer(2)]],
                      uint i [[thread_position_in_grid]], uint l [[thread_index_in_threadgroup]],
                      uint size [[threads_per_threadgroup]]) {
  threadgroup atomic_uint own[256];
  for (uint b = l; b < 256; b += size) atomic_store_explicit(&own[b], 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i < n) atomic_fetch_add_explicit(&own[x[i]], 1u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint b = l; b < 256; b += size) {
    const uint count = atomic_load_explicit(&own[b], memory_order_relaxed);
    if (count > 0) atomic_fetch_add_explicit(&bins[b], count, memory_order_relaxed);
  }
}
