// Overloads by type traits.
#include <metal_stdlib>
using namespace metal;
template <typename T, enable_if_t<is_floating_point<T>::value, int> = 0> inline T halve(T v) { return v * T(0.5f); }
template <typename T, enable_if_t<is_integral<T>::value, int> = 0> inline T halve(T v) { return v / 2; }
kernel void halves(device float* x [[buffer(0)]], device int* n [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  x[i] = halve(x[i]);
  n[i] = halve(n[i]) + conditional_t<true, int, float>(2);
}
