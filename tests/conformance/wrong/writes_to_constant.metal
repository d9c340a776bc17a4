// address-space: MSL 4.2, constant memory is read-only
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], constant float& c [[buffer(1)]], uint i [[thread_position_in_grid]]) { c = 2.0f; x[i] = c; }
