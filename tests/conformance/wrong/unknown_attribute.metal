// attribute: MSL 5.2, no such attribute
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_id]]) { x[i] = 1.0f; }
