// vector: MSL 2.24, as_type keeps the size
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = as_type<float>(half(1.0h)); }
