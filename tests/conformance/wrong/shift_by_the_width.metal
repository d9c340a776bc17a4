// shift: MSL 3, shift counts are taken modulo the width, C++ leaves them undefined
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { uint n = i << 32; x[i] = n; }
