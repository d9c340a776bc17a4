// conversion: MSL 2.1, float becomes bfloat by a cast only, in a template that is filled in as well
#include <metal_stdlib>
using namespace metal;
template <typename T> inline T scaled(T value, float by) { return value * by; }
kernel void f(device bfloat* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = scaled(x[i], 2.0f);
}
