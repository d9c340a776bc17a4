// cast: undefined, MSL 1.4 by C++14 4.9 [conv.fpint]: a float beyond 255 has no uchar value
#include <metal_stdlib>
using namespace metal;
kernel void f(device uint* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = (uchar)256.0f; }
