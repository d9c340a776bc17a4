// Helpers in namespaces, qualified calls, a using-declaration.
#include <metal_stdlib>
using namespace metal;
namespace signal {
namespace window {
inline float triangle(float t) { return 1.0f - metal::abs(2.0f * t - 1.0f); }
}  // namespace window
}  // namespace signal
using signal::window::triangle;
kernel void windowed(device float* x [[buffer(0)]], constant float& n [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  x[i] *= triangle(float(i) / n) * signal::window::triangle(metal::fract(x[i]));
}
