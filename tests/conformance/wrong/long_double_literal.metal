// double: MSL 2.1, no long double
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = x[i] * 1.5L; }
