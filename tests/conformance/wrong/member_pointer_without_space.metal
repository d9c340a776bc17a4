// address-space: MSL 4, a pointer member needs an address space
#include <metal_stdlib>
using namespace metal;
struct View { float* data; };
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { View view; x[i] = sizeof(view); }
