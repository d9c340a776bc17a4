// cplusplus: MSL 1.4, no lambdas before 3.2
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { auto twice = [](float v) { return 2.0f * v; }; x[i] = twice(x[i]); }
