// address-space: MSL 4, a pointer type needs an address space in a typedef as well
#include <metal_stdlib>
using namespace metal;
typedef float* Pointer;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = float(sizeof(Pointer)); }
