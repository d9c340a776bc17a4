// program-scope: MSL 4.2, program scope is for constant variables
#include <metal_stdlib>
using namespace metal;
device float scale = 2.0f;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] *= scale; }
