// Small matrices of threads.
#include <metal_stdlib>
using namespace metal;
kernel void rotate_points(device float2* x [[buffer(0)]], constant float& angle [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  float c;
  const float s = sincos(angle, c);
  const float2x2 turn = float2x2(float2(c, s), float2(-s, c));
  x[i] = turn * x[i] + transpose(turn)[0];
}
