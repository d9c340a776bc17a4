// cplusplus14: accepted with a warning, MSL 1.4: the language is C++14, if constexpr came with C++17
#include <metal_stdlib>
using namespace metal;
template <int N> inline float g(float v) { if constexpr (N > 1) return v; return 0.0f; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = g<2>(x[i]); }
