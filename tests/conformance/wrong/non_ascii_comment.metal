// ascii: torch.mps.compile_shader takes the text as ASCII
#include <metal_stdlib>
using namespace metal;
// wω
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = 1.0f; }
