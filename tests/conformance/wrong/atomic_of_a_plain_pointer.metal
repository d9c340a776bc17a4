// atomic: MSL 2.6, atomic functions take atomic types
#include <metal_stdlib>
using namespace metal;
kernel void f(device int* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { atomic_fetch_add_explicit(x, 1, memory_order_relaxed); }
