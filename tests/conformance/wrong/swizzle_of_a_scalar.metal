// vector: MSL 2.2, a scalar has no components
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = x[i].x; }
