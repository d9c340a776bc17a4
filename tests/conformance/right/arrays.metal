// metal::array, arrays of arrays, references to them.
#include <metal_stdlib>
using namespace metal;
template <int N> inline float sum(thread const float (&v)[N]) {
  float result = 0;
  for (int k = 0; k < N; ++k) result += v[k];
  return result;
}
kernel void collect(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  array<float, 4> a;
  for (size_t k = 0; k < a.size(); ++k) a[k] = x[4 * i + k];
  float v[3] = {a[0], a[1], a[2]};
  thread float& last = v[2];
  last *= 2.0f;
  x[4 * i] = sum(v) + a[3];
}
