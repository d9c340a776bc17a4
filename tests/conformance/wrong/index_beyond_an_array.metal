// index: MSL 4, an index beyond the array
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { float v[4]; v[0] = x[i]; v[4] = 1.0f; x[i] = v[0]; }
