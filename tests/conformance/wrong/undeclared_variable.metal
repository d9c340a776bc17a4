// undeclared: MSL 1.4, by C++14 3.4 [basic.lookup] only what is declared has a meaning
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = y; }
