// recursion: MSL 1.4, no recursion
#include <metal_stdlib>
using namespace metal;
inline int factorial(int n) { return n < 2 ? 1 : n * factorial(n - 1); }
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = factorial(4); }
