// index: undefined, MSL 1.4 by C++14 5.7 [expr.add]: an index beyond the array
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float v[4]; v[0] = x[i]; v[4] = 1.0f; x[i] = v[0]; }
