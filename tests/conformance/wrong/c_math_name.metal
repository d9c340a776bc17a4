// undeclared: MSL 6, Metal has no sinf
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = sinf(x[i]); }
