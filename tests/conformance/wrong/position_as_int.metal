// attribute: MSL 5.2.3.6, positions are unsigned
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], int i [[thread_position_in_grid]]) { x[i] = 1.0f; }
