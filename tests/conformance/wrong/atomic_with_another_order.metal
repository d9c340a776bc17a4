// undeclared: MSL 6.15.1, memory_order_relaxed is the only order
#include <metal_stdlib>
using namespace metal;
kernel void f(device atomic_int* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { atomic_fetch_add_explicit(x, 1, memory_order_acquire); }
