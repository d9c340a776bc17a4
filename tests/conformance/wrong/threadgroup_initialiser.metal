// threadgroup-variable: MSL 4.4, threadgroup variables have no initialiser
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup float total = 0.0f; x[i] = total; }
