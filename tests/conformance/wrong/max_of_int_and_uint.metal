// ambiguous: MSL 6.3, both arguments of max have one type
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { int n = 4; x[i] = max(n, i); }
