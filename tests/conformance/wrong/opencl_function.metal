// undeclared: MSL 6, get_global_id is OpenCL's
#include <metal_stdlib>
using namespace metal;
kernel void f(device float* x [[buffer(0)]]) { uint i = get_global_id(0); x[i] = 1.0f; }
