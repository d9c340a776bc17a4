// cplusplus14: accepted with a warning, MSL 1.4: the language is C++14, fold expressions came with C++17
#include <metal_stdlib>
using namespace metal;
template <class... T> inline float sum(T... v) { return (v + ...); }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = sum(1.0f, 2.0f); }
