// program-scope: MSL 4.2, the initialiser is a compile-time constant
#include <metal_stdlib>
using namespace metal;
inline float two() { return 2.0f; }
constant float scale = two();
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] *= scale; }
