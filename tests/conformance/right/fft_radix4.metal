// Complex arithmetic on float2 and a butterfly in registers.
#include <metal_stdlib>
using namespace metal;
METAL_FUNC float2 multiply(float2 a, float2 b) { return float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
METAL_FUNC void radix4(thread float2* v) {
  float2 a = v[0] + v[2], b = v[0] - v[2], c = v[1] + v[3], d = v[1] - v[3];
  d = float2(d.y, -d.x);
  v[0] = a + c; v[1] = b + d; v[2] = a - c; v[3] = b - d;
}
kernel void butterflies(device float2* x [[buffer(0)]], const device float2* w [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  float2 v[4];
  for (int k = 0; k < 4; ++k) v[k] = multiply(x[i + k * 64], w[k]);
  radix4(v);
  for (int k = 0; k < 4; ++k) x[i + k * 64] = v[k];
}
