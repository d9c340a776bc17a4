// cplusplus: MSL 1.4, no pointers to functions (but those of a visible function table)
#include <metal_stdlib>
using namespace metal;
inline float one(float v) { return v; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float (*g)(float) = one; x[i] = g(x[i]); }
