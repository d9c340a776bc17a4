// ambiguous: MSL 6.5, both arguments of min have one type
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { half h = 1.0h; x[i] = min(h, x[i]); }
