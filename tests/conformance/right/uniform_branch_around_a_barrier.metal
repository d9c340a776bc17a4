// A barrier under a condition that all threads share.
#include <metal_stdlib>
using namespace metal;
kernel void stages(device float* x [[buffer(0)]], constant int* params [[buffer(1)]], uint l [[thread_index_in_threadgroup]],
                   uint g [[threadgroup_position_in_grid]], uint size [[threads_per_threadgroup]]) {
  threadgroup float t[512];
  t[l] = x[g * size + l];
  if (params[0] > 0 && g % 2 == 0) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int k = 0; k < params[1]; ++k) {
      const float v = t[(l + 1) % size];
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
      t[l] = v;
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
  }
  x[g * size + l] = t[l];
}
