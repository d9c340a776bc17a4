// program-scope: MSL 4, a static variable in a function is constant or not there
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { static int calls = 0; calls += 1; x[i] = calls; }
