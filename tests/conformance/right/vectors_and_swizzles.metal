// Constructors and swizzles of vectors.
#include <metal_stdlib>
using namespace metal;
kernel void swizzle(device float4* x [[buffer(0)]], device const float2* y [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  float4 v = float4(y[i], 0.0f, 1.0f);
  v.xy = v.yx;
  v.zw += float2(1.0f);
  float3 w = float3(v.rgb);
  v = float4(w.xxy, v.a);
  v = vec<float, 4>(v.x, v.y, 2.0f, 3.0f) * 2.0f;
  int4 n = int4(v);
  uint3 u = uint3(n.xyz);
  v.w = dot(v, v) + length(w) + float(u.x) + as_type<float>(n.w);
  x[i] = select(v, float4(0.0f), v > 1.0f);
}
