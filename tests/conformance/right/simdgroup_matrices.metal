// 8 by 8 matrices of a simdgroup.
#include <metal_stdlib>
using namespace metal;
kernel void multiply(device const float* a [[buffer(0)]], device const float* b [[buffer(1)]], device float* c [[buffer(2)]],
                     constant uint& n [[buffer(3)]], uint2 g [[threadgroup_position_in_grid]]) {
  simdgroup_float8x8 sum = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  for (uint k = 0; k < n; k += 8) {
    simdgroup_float8x8 left, right;
    simdgroup_load(left, a + g.y * 8 * n + k, n);
    simdgroup_load(right, b + k * n + g.x * 8, n);
    simdgroup_multiply_accumulate(sum, left, right, sum);
  }
  simdgroup_store(sum, c + g.y * 8 * n + g.x * 8, n);
}
