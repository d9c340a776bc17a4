// shift: undefined, MSL 1.4 by C++14 5.8 [expr.shift]: a shift by the width (MSL 3.1 takes it modulo the width)
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { uint n = i << 32; x[i] = n; }
