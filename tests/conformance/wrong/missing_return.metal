// type: undefined, MSL 1.4 by C++14 6.6.3 [stmt.return]: a function with a result returns one
#include <metal_stdlib>
using namespace metal;
inline float g(float v) { if (v > 1.0f) { return v; } }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = g(x[i]); }
