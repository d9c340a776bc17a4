// program-scope: MSL 4.2, a constant at program scope is initialised
#include <metal_stdlib>
using namespace metal;
constant float scale;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] *= scale; }
