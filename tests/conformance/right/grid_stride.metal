// A loop over more elements than threads, with a switch and a do loop.
#include <metal_stdlib>
using namespace metal;
enum class Mode : int { copy, negate, square };
kernel void apply(device float* x [[buffer(0)]], constant int& mode [[buffer(1)]], constant long& n [[buffer(2)]],
                  uint i [[thread_position_in_grid]], uint count [[threads_per_grid]]) {
  for (long k = i; k < n; k += count) {
    float v = x[k];
    switch (static_cast<Mode>(mode)) {
      case Mode::copy: break;
      case Mode::negate: v = -v; break;
      case Mode::square: v *= v; break;
      default: v = NAN;
    }
    int tries = 0;
    do { v = isnan(v) ? 0.0f : v; } while (++tries < 2);
    x[k] = v;
  }
}
