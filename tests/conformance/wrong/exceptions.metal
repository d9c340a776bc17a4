// cplusplus: MSL 1.4, no exceptions
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { if (i > 4) throw 1; x[i] = 1.0f; }
