// Constants in classes, and classes chosen by types.
#include <metal_stdlib>
using namespace metal;
template <typename T> struct Limits { static constexpr constant int BITS = 8 * sizeof(T); };
template <> struct Limits<bool> { static constexpr constant int BITS = 1; };
template <typename T, bool SMALL = (sizeof(T) < 4)> struct Accumulator { typedef T type; };
template <typename T> struct Accumulator<T, true> { typedef float type; };
template <typename T> inline typename Accumulator<T>::type widen(T v) { return static_cast<typename Accumulator<T>::type>(v); }
kernel void widths(device half* x [[buffer(0)]], device int* n [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  n[i] = Limits<int>::BITS + Limits<bool>::BITS + int(widen(x[i]));
}
