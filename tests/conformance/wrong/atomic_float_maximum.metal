// atomic: MSL 6.15.2, atomic_float has add and subtract only
#include <metal_stdlib>
using namespace metal;
kernel void f(device atomic_float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { atomic_fetch_max_explicit(x, float(i), memory_order_relaxed); }
