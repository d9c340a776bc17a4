// standard-library: MSL 1.4, the C++ standard library is not there
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = std::max(x[i], 1.0f); }
