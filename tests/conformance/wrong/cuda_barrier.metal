// undeclared: MSL 6.9, __syncthreads is CUDA's
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { __syncthreads(); x[i] = 1.0f; }
