// Local variables and members may be called as Metal's functions.
#include <metal_stdlib>
using namespace metal;
struct Step { int length; int first; float mix() const { return float(length); } };
kernel void shadowed(device float* x [[buffer(0)]], constant int* params [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  const int length = params[0];
  int step = length / 2, sign = 1;
  Step own;
  own.length = step;
  x[i] = float(sign * own.length) * own.mix() + metal::sign(x[i]);
}
