// A compare-and-swap loop and the float addition in device memory.
#include <metal_stdlib>
using namespace metal;
kernel void accumulate(device atomic_float* sum [[buffer(0)]], device atomic_int* top [[buffer(1)]], device const float* x [[buffer(2)]],
                       uint i [[thread_position_in_grid]]) {
  atomic_fetch_add_explicit(sum, x[i], memory_order_relaxed);
  int seen = atomic_load_explicit(top, memory_order_relaxed);
  const int wanted = int(x[i]);
  while (seen < wanted && !atomic_compare_exchange_weak_explicit(top, &seen, wanted, memory_order_relaxed, memory_order_relaxed)) {
  }
}
