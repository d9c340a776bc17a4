// atomic: MSL 6.15.2, atomic_float is for device memory
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { threadgroup atomic_float t; atomic_fetch_add_explicit(&t, x[i], memory_order_relaxed); x[i] = 1.0f; }
