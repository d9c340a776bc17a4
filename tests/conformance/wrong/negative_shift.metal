// shift: MSL 3, a negative shift count
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { int n = int(i) >> -1; x[i] = n; }
