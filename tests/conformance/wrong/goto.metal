// cplusplus: MSL 1.4, no goto
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { if (i > 4) goto end; x[i] = 1.0f;
end:
  x[0] = 1.0f; }
