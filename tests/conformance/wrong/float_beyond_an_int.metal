// cast: undefined, MSL 1.4 by C++14 4.9 [conv.fpint]: a float beyond 2^31 has no int value
#include <metal_stdlib>
using namespace metal;
kernel void f(device uint* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = static_cast<int>(3.0e9f) + 1; }
