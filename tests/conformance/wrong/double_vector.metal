// undeclared: MSL 2.2, no vectors of double
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { double2 v; v.x = x[i]; x[i] = float(v.x); }
