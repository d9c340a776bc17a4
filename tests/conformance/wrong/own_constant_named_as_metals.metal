// ambiguous: MSL 6, under `using namespace metal` step is a function
#include <metal_stdlib>
using namespace metal;
constant int step = 3;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i * step] = 1.0f; }
