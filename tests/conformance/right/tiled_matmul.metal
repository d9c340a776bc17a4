// Matrix product through tiles in threadgroup memory.
#include <metal_stdlib>
using namespace metal;
constant constexpr int TILE = 16;
struct Shape { uint m; uint n; uint k; };
kernel void matmul(device const float* a [[buffer(0)]], device const float* b [[buffer(1)]], device float* c [[buffer(2)]],
                   constant Shape& shape [[buffer(3)]], uint2 p [[thread_position_in_grid]],
                   uint2 l [[thread_position_in_threadgroup]]) {
  threadgroup float tile_a[TILE][TILE];
  threadgroup float tile_b[TILE][TILE];
  float sum = 0;
  const uint tiles = (shape.k + TILE - 1) / TILE;
  for (uint t = 0; t < tiles; ++t) {
    const uint column = t * TILE + l.x, row = t * TILE + l.y;
    tile_a[l.y][l.x] = p.y < shape.m && column < shape.k ? a[p.y * shape.k + column] : 0.0f;
    tile_b[l.y][l.x] = row < shape.k && p.x < shape.n ? b[row * shape.n + p.x] : 0.0f;
    threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (int i = 0; i < TILE; ++i) sum = fma(tile_a[l.y][i], tile_b[i][l.x], sum);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (p.y < shape.m && p.x < shape.n) c[p.y * shape.n + p.x] = sum;
}
