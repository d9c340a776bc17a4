// cplusplus: MSL 1.4, no virtual functions
#include <metal_stdlib>
using namespace metal;
struct Base { virtual float get() const { return 1.0f; } };
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = sizeof(Base); }
