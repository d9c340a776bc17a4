// Parameter packs and recursion over types, which is none at run time.
#include <metal_stdlib>
using namespace metal;
inline float total() { return 0.0f; }
template <typename T, typename... Rest> inline float total(T head, Rest... rest) { return float(head) + total(rest...); }
template <int N> struct Power { static inline float of(float v) { return v * Power<N - 1>::of(v); } };
template <> struct Power<0> { static inline float of(float) { return 1.0f; } };
kernel void sums(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = total(x[i], 1, 2.0h) + Power<5>::of(x[i]);
}
