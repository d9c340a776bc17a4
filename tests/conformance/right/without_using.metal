// Everything qualified.
#include <metal_stdlib>
kernel void qualified(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = metal::fma(x[i], 2.0f, metal::min(1.0f, metal::precise::exp(x[i])));
  metal::threadgroup_barrier(metal::mem_flags::mem_device);
}
