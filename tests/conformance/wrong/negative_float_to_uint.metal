// cast: undefined, MSL 1.4 by C++14 4.9 [conv.fpint]: a negative float has no unsigned value
#include <metal_stdlib>
using namespace metal;
kernel void f(device uint* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = uint(-1.0f); }
