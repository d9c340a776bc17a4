// recursion: MSL 1.4, no recursion, in a template that is filled in as well
#include <metal_stdlib>
using namespace metal;
template <typename T> inline T folded(T value, int times) { return times > 0 ? folded(value * T(2), times - 1) : value; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = folded(x[i], 3);
}
