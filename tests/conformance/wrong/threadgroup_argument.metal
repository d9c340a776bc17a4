// kernel-parameter: torch.mps.compile_shader sets no threadgroup memory length
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], threadgroup float* t [[threadgroup(0)]], uint i [[thread_position_in_grid]]) { t[0] = x[i]; }
