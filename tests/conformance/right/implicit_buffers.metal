// Buffers without indices take the next free one.
#include <metal_stdlib>
using namespace metal;
kernel void saxpy(device float* y, constant float* x, constant float& a, constant uint& n, uint i [[thread_position_in_grid]]) {
  if (i < n) y[i] += a * x[i];
}
