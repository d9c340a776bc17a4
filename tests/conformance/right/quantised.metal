// Nibbles, packed types and integer vectors.
#include <metal_stdlib>
using namespace metal;
struct Block { half scale; uchar quants[16]; };
kernel void dequantise(device const Block* blocks [[buffer(0)]], device float* y [[buffer(1)]], device packed_float3* z [[buffer(2)]],
                       uint i [[thread_position_in_grid]]) {
  device const Block* block = blocks + i;
  const float scale = float(block->scale);
  for (int k = 0; k < 16; ++k) {
    const uchar q = block->quants[k];
    y[32 * i + k] = scale * (int(q & 0x0F) - 8);
    y[32 * i + k + 16] = scale * (int(q >> 4) - 8);
  }
  device const uchar4* four = (device const uchar4*)block->quants;
  const float4 f = float4(four[0]);
  z[i] = packed_float3(f.x, f.y, f.z);
}
