// attribute: MSL 5.2.3.6, positions are ushort or uint
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], float i [[thread_position_in_grid]]) { x[0] = i; }
