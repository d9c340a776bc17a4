// undeclared: MSL 2, unknown type
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { real v = x[i]; x[i] = v; }
