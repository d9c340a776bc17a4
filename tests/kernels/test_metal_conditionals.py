"""Kernels with c ? a : b of half, bfloat and swizzles, which Metal joins and C++ does not by itself."""

# ruff: noqa: F811  (fixtures)

from __future__ import annotations

import torch

from .test_foreign_kernels import build  # noqa: F401  (a fixture)


def test_a_guarded_tile_load_in_half(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
template <typename T>
kernel void sum_tiles(const device T* x, device float* sums, device T* last, constant uint& n,
                      uint i [[thread_position_in_grid]], uint l [[thread_index_in_threadgroup]],
                      uint g [[threadgroup_position_in_grid]], uint size [[threads_per_threadgroup]]) {
  threadgroup T tile[64];
  tile[l] = i < n ? x[i] : 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float sum = 0;
  for (uint k = 0; k < size; ++k) sum += k < size ? float(tile[k]) : 0;
  if (l == 0) sums[g] = sum;
  if (l == 0) last[g] = (g + 1) * size <= n
      ? x[(g + 1) * size - 1]
      : 0;
}
template [[host_name("sum_half")]] [[kernel]] decltype(sum_tiles<half>) sum_tiles<half>;
template [[host_name("sum_bfloat")]] [[kernel]] decltype(sum_tiles<bfloat>) sum_tiles<bfloat>;
template [[host_name("sum_float")]] [[kernel]] decltype(sum_tiles<float>) sum_tiles<float>;
""")
    for name, dtype in (("half", torch.float16), ("bfloat", torch.bfloat16), ("float", torch.float32)):
        x = torch.randn(150, device=torch_device).to(dtype)
        sums, last = torch.full((3,), 9.0, device=torch_device), torch.full((3,), 9.0, dtype=dtype, device=torch_device)
        getattr(library, f"sum_{name}")(x, sums, last, 150, threads=192, group_size=64, arg_casts={3: "int32"})
        padded = torch.nn.functional.pad(x.float(), (0, 42)).view(3, 64)
        torch.testing.assert_close(sums, padded.sum(1), rtol=1e-5, atol=1e-5)
        assert last.tolist() == [x[63].item(), x[127].item(), 0]


def test_conditionals_with_half_have_metals_types(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
kernel void sizes(device int* out, const device half* x, const device bfloat* y) {
  const bool c = out[0] == 0;
  half h = x[0]; bfloat b = y[0]; int n = 3;
  int sizes[] = {sizeof(c ? h : 0), sizeof(c ? h : 0.0f), sizeof(c ? h : n), sizeof(c ? 1.0f : b), sizeof(c ? true : b),
                 sizeof(c ? h : 1.0h), sizeof(c ? h : c ? 0 : 1.0f), sizeof(c ? short(1) : short(2)),
                 sizeof(c ? half4(1) : h), sizeof(c ? packed_float3(1) : float3(2))};
  for (int k = 0; k < 10; ++k) out[k] = sizes[k];
}
""")
    out = torch.zeros(10, dtype=torch.int32, device=torch_device)
    ones = torch.ones(1, device=torch_device)
    library.sizes(out, ones.half(), ones.bfloat16(), threads=1)
    assert out.tolist() == [2, 4, 2, 4, 2, 2, 4, 2, 8, 16]


def test_nested_conditionals_choose_as_in_c(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
inline half level(int i, half h) {
  return i == 0 ? h : i == 1 ? 2 : i == 2 ? i < 0 ? -h : 3.0f : i == 3 ? (h > 0.0h ? h : 0) + 4.0h : NAN;
}
inline void set(thread half& x) { x = 7.0h; }
inline void clear(thread half& x) { x = 0; }
kernel void choose(device float* out, const device half* x, uint i [[thread_position_in_grid]]) {
  constexpr int N = 8;
  constexpr half one = N > 4 ? 1.0h : 0.0h;
  constexpr int length = N > 4 ? N : 2;
  float room[N > 4 ? N / 2 : 2];
  array<float, (N > 4 ? length : 2)> more;
  half a = x[0], b = one;
  i & 1 ? set(a) : clear(a);
  (i & 2 ? a : b) = 5.0h;
  thread half* p = i < 2 ? &a : nullptr;
  const device half* q = i > 4 ? 0 : x;
  const uint u = i > 100 ? -1 : i;
  thread float& r = i & 1 ? room[0] : room[1];
  room[0] = room[1] = 0;
  r = p ? *p : q ? b : 1;
  more[u % 8] = level(i, x[0]);
  out[i * 4] = more[i] + (sizeof(room) == 16 && sizeof(more) == 32 ? 0 : 100);
  out[i * 4 + 1] = room[0];
  out[i * 4 + 2] = room[1];
  out[i * 4 + 3] = a;
}
""")
    out = torch.zeros(5, 4, device=torch_device)
    library.choose(out, torch.full((1,), 1.5, dtype=torch.float16, device=torch_device), threads=5)
    expected = [[1.5, 0, 0, 0], [2, 7, 0, 7], [3, 0, 1, 5], [5.5, 1, 0, 5]]
    assert out[:4].tolist() == expected
    assert out[4, 0].isnan() and out[4, 1:].tolist() == [0, 5, 0]


def test_conditionals_choose_between_swizzles_vectors_and_scalars(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
kernel void choose(device float4* out, const device float4* x, uint i [[thread_position_in_grid]]) {
  const float4 v = x[0];
  thread float4 w = v.wzyx;
  float2 r = i == 0 ? v.xy : v.zw;
  float2 s = i == 1 ? w.xy : float2(9);
  auto t = i == 2 ? v.zw : 0.5f;
  float2 u = i == 0 ? v.xx : i == 1 ? v.yy : i == 2 ? float2(5) : 6.0f;
  out[i] = float4(r + s, t * u);
  out[i + 3] = (i ? v.xyz : w.xyz).xxyy;
}
""")
    out = torch.zeros(6, 4, device=torch_device)
    library.choose(out, torch.tensor([1.0, 2, 3, 4], device=torch_device), threads=3)
    assert out.tolist() == [
        [10, 11, 0.5, 0.5], [7, 7, 1, 1], [12, 13, 15, 20], [4, 4, 3, 3], [1, 1, 2, 2], [1, 1, 2, 2],
    ]  # fmt: skip
