// ambiguous: MSL 6, under `using namespace metal` an own clamp is a second one
#include <metal_stdlib>
using namespace metal;
inline float clamp(float v, float low, float high) { return v < low ? low : v > high ? high : v; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = clamp(x[i], 0.0f, 1.0f); }
