// buffer-index: Metal Feature Set Tables, buffers 0 to 30
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(31)]], uint i [[thread_position_in_grid]]) { x[i] = 1.0f; }
