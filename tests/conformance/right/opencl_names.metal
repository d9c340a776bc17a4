// Names that OpenCL takes and Metal does not.
#include <metal_stdlib>
using namespace metal;
kernel void named(device float* global [[buffer(0)]], uint local [[thread_position_in_grid]]) {
  int pipe = 2;
  float generic = 1.0f;
  global[local] = generic * pipe;
}
