// vector: MSL 2.2, float2 has no w, which shows where a template is filled in
#include <metal_stdlib>
using namespace metal;
template <typename V> inline float last(V v) { return v.w; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = last(float2(x[i], 1.0f));
}
