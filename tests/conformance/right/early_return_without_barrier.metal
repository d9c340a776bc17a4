// A return is fine where no barrier follows.
#include <metal_stdlib>
using namespace metal;
kernel void guarded(device float* x [[buffer(0)]], constant uint& n [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  if (i >= n) return;
  x[i] = rsqrt(x[i]);
}
