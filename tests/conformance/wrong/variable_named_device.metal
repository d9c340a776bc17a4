// name-collision: MSL 4, device is a keyword
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { int device = 3; x[i] = device; }
