// Parameters in a struct that is copied out of constant memory.
#include <metal_stdlib>
using namespace metal;
struct Params { int rows; int columns; float scale; };
kernel void transpose(device const float* in [[buffer(0)]], device float* out [[buffer(1)]], constant Params* params [[buffer(2)]],
                      uint2 p [[thread_position_in_grid]]) {
  Params own = params[0];
  if (int(p.x) < own.columns && int(p.y) < own.rows) out[p.x * own.rows + p.y] = in[p.y * own.columns + p.x] * own.scale;
}
