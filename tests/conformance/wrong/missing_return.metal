// type: C++14, a function with a result returns one
#include <metal_stdlib>
using namespace metal;
inline float g(float v) { if (v > 1.0f) { return v; } }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = g(x[i]); }
