// cast: MSL 2.25, a negative float has no unsigned value
#include <metal_stdlib>
using namespace metal;
kernel void f(device uint* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = uint(-1.0f); }
