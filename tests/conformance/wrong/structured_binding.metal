// cplusplus14: accepted with a warning, MSL 1.4: the language is C++14, structured bindings came with C++17
#include <metal_stdlib>
using namespace metal;
struct Pair { float a, b; };
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { Pair p = {1.0f, 2.0f}; auto [a, b] = p; x[i] = a + b; }
