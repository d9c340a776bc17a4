// bfloat by explicit casts only.
#include <metal_stdlib>
using namespace metal;
kernel void cast(device const float* x [[buffer(0)]], device bfloat* y [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  bfloat b = bfloat(x[i]);
  const float back = b;
  y[i] = bfloat(float(b) + back);
}
