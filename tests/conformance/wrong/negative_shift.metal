// shift: undefined, MSL 1.4 by C++14 5.8 [expr.shift]: a negative shift count (MSL 3.1 takes it modulo the width)
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { int n = int(i) >> -1; x[i] = n; }
