// address-space: MSL 4, a method without an address space is for objects of threads
#include <metal_stdlib>
using namespace metal;
struct Pair { float a, b; float sum() const { return a + b; } };
kernel void f(device Pair* pairs [[buffer(0)]], device float* x [[buffer(1)]], uint i [[thread_position_in_grid]]) { x[i] = pairs[i].sum(); }
