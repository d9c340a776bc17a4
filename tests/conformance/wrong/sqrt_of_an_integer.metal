// ambiguous: MSL 6.5, sqrt is for half and float
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { int n = int(i); x[i] = sqrt(n); }
