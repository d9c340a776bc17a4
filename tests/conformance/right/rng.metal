// A counter-based generator: integer arithmetic, shifts, unions of bits.
#include <metal_stdlib>
using namespace metal;
inline uint2 threefry(uint2 key, uint2 count) {
  constexpr uint rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  uint keys[3] = {key.x, key.y, key.x ^ key.y ^ 0x1BD11BDA};
  uint2 v = count + key;
  for (int round = 0; round < 5; ++round) {
    for (int k = 0; k < 4; ++k) {
      const uint r = rotations[round % 2][k];
      v.x += v.y;
      v.y = (v.y << r) | (v.y >> (32 - r));
      v.y ^= v.x;
    }
    v.x += keys[(round + 1) % 3];
    v.y += keys[(round + 2) % 3] + round + 1;
  }
  return v;
}
kernel void bits(device uint* x [[buffer(0)]], constant uint2& key [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  const uint2 v = threefry(key, uint2(i, 0));
  x[2 * i] = v.x;
  x[2 * i + 1] = popcount(v.y) + clz(v.x) + reverse_bits(v.y) + rotate(v.x, 3u) + mulhi(v.x, v.y);
}
