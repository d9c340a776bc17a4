// Casts of floats that fit, and of values that nobody knows.
#include <metal_stdlib>
using namespace metal;
kernel void f(device uint* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  const float v = float(i);
  x[i] = uint(1.5f) + uint(v) + uint(int(-1.0f)) + uchar(255.0f) + static_cast<uint>(4.0e9f);
}
