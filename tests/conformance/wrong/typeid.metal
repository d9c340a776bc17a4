// cplusplus: MSL 1.4, no run-time type information
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = typeid(x) == typeid(i); }
