// kernel-parameter: MSL 5.1.1, a kernel returns void
#include <metal_stdlib>
using namespace metal;
kernel float f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { return x[i]; }
