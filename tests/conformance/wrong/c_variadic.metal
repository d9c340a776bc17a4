// cplusplus: MSL 1.4, no functions with C's variable arguments
#include <metal_stdlib>
using namespace metal;
float sum(int n, ...) { return n; }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = sum(2, 1.0f, 2.0f); }
