"""Metal kernels as other people write them for torch.mps.compile_shader compile unmodified and do what torch does."""

from __future__ import annotations

import pytest
import torch

from mps_spectro_patch.kernels import compile_shader


@pytest.fixture(scope="module")
def build(device_name):
    return lambda source: compile_shader(source, device_name)


def test_a_two_level_reduction_with_simd_sum_adds_up_rows(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;

constant constexpr uint MAX_SIMDGROUPS = 32;

template <typename T>
inline T block_sum(T value, threadgroup T* partials, uint lane, uint group, uint groups) {
  value = simd_sum(value);
  if (lane == 0) partials[group] = value;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  value = lane < groups ? partials[lane] : T(0);
  return simd_sum(value);
}

kernel void row_sum(device const float* input   [[buffer(0)]],
                    device float*       output  [[buffer(1)]],
                    constant uint&      columns [[buffer(2)]],
                    uint row    [[threadgroup_position_in_grid]],
                    uint thread_index [[thread_position_in_threadgroup]],
                    uint size   [[threads_per_threadgroup]],
                    uint lane   [[thread_index_in_simdgroup]],
                    uint group  [[simdgroup_index_in_threadgroup]],
                    uint groups [[simdgroups_per_threadgroup]]) {
  threadgroup float partials[MAX_SIMDGROUPS];
  float sum = 0.0f;
  for (uint c = thread_index; c < columns; c += size) sum += input[row * columns + c];
  sum = block_sum(sum, partials, lane, group, groups);
  if (thread_index == 0) output[row] = sum;
}
""")
    x = torch.randn(7, 1003, device=torch_device)
    out = torch.empty(7, device=torch_device)
    library.row_sum(x, out, 1003, threads=7 * 256, group_size=256)
    torch.testing.assert_close(out, x.sum(1), rtol=1e-5, atol=1e-4)


def test_softmax_of_rows(build, torch_device):
    library = build("""
#include <metal_math>
#include <metal_stdlib>
#include <metal_simdgroup>
using namespace metal;
struct Shape { long rows; long columns; };
[[max_total_threads_per_threadgroup(128)]]
kernel void softmax_rows(const device float* x [[buffer(0)]], device float* y [[buffer(1)]],
                         constant Shape& shape [[buffer(2)]],
                         ushort t [[thread_index_in_threadgroup]], uint3 group [[threadgroup_position_in_grid]],
                         uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup float local_max[4], local_sum[4];
  const device float4* in = reinterpret_cast<const device float4*>(x + group.x * shape.columns);
  device float4* out = (device float4*)(y + group.x * shape.columns);
  const int quads = int(shape.columns / 4);
  float4 m4 = float4(-INFINITY);
  for (int i = t; i < quads; i += 128) m4 = max(m4, in[i]);
  float m = simd_max(max(max(m4.x, m4.y), max(m4.z, m4.w)));
  if (lane == 0) local_max[simd] = m;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  m = metal::max3(local_max[0], local_max[1], metal::max(local_max[2], local_max[3]));
  float s = 0;
  for (int i = t; i < quads; i += 128) {
    const float4 e = metal::precise::exp(in[i] - m);
    out[i] = e;
    s += (e.x + e.y) + (e.z + e.w);
  }
  s = simd_sum(s);
  if (lane == 0) local_sum[simd] = s;
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  s = local_sum[0] + local_sum[1] + local_sum[2] + local_sum[3];
  for (int i = t; i < quads; i += 128) out[i] /= s;
}
""")
    x = torch.randn(5, 1000, device=torch_device) * 10
    y = torch.empty_like(x)
    library.softmax_rows(x, y, [5, 1000], threads=5 * 128, group_size=128)
    torch.testing.assert_close(y, x.softmax(1), rtol=2e-5, atol=1e-6)


def test_a_matrix_product_in_tiles_of_threadgroup_memory(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
#define TILE 16
kernel void matmul(device const float* A, device const float* B, device float* C, constant uint3& mnk,
                   uint2 gid [[thread_position_in_grid]], uint2 tid [[thread_position_in_threadgroup]]) {
  threadgroup float As[TILE][TILE];
  threadgroup float Bs[TILE][TILE + 1];
  const uint M = mnk.x, N = mnk.y, K = mnk.z;
  float acc = 0;
  for (uint k0 = 0; k0 < K; k0 += TILE) {
    As[tid.y][tid.x] = (gid.y < M && k0 + tid.x < K) ? A[gid.y * K + k0 + tid.x] : 0.0;
    Bs[tid.y][tid.x] = (k0 + tid.y < K && gid.x < N) ? B[(k0 + tid.y) * N + gid.x] : 0.0;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    #pragma unroll
    for (uint k = 0; k < TILE; ++k) acc = fma(As[tid.y][k], Bs[k][tid.x], acc);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (gid.y < M && gid.x < N) C[gid.y * N + gid.x] = acc;
}
""")
    m, n, k = 37, 50, 29
    a, b = torch.randn(m, k, device=torch_device), torch.randn(k, n, device=torch_device)
    c = torch.empty(m, n, device=torch_device)
    library.matmul(a, b, c, [m, n, k, 0], threads=(64, 48), group_size=(16, 16), arg_casts={3: "int32"})
    torch.testing.assert_close(c, a @ b, rtol=1e-4, atol=1e-4)


def test_a_transpose_in_tiles_with_guards_at_the_edges(build, torch_device):
    library = build("""
#include <metal_stdlib>
template <typename T, int TILE, int ROWS>
[[kernel]] void transpose_tiled(device const T* source [[buffer(0)]], device T* target [[buffer(1)]],
    constant metal::int2& shape [[buffer(2)]],
    metal::ushort2 t [[thread_position_in_threadgroup]], metal::ushort2 g [[threadgroup_position_in_grid]]) {
  threadgroup T tile[TILE][TILE + 1];
  int x = g.x * TILE + t.x, y = g.y * TILE + t.y;
  for (int j = 0; j < TILE; j += ROWS)
    if (x < shape.x && y + j < shape.y) tile[t.y + j][t.x] = source[(y + j) * shape.x + x];
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  x = g.y * TILE + t.x;
  y = g.x * TILE + t.y;
  for (int j = 0; j < TILE; j += ROWS)
    if (x < shape.y && y + j < shape.x) target[(y + j) * shape.y + x] = tile[t.x][t.y + j];
}
#define instantiate(name, type) \\
  template [[host_name("transpose_" #name)]] [[kernel]] void transpose_tiled<type, 32, 8>( \\
    device const type*, device type*, constant metal::int2&, metal::ushort2, metal::ushort2);
instantiate(float, float)
instantiate(half, half)
instantiate(complex, metal::float2)
""")
    for name, dtype in (("float", torch.float32), ("half", torch.float16), ("complex", torch.complex64)):
        x = torch.randn(45, 70, device=torch_device).to(dtype)
        y = torch.empty(70, 45, dtype=dtype, device=torch_device)
        kernel = getattr(library, f"transpose_{name}")
        kernel(x, y, [70, 45], threads=(3 * 32, 2 * 8), group_size=(32, 8), arg_casts={2: "int32"})
        assert torch.equal(y, x.t())


def test_half_axpy_rounds_once_as_written(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
kernel void axpy(device half* y, device const half* x, constant float& a, uint i [[thread_position_in_grid]]) {
  y[i] = half(a * float(x[i]) + y[i]);
}
kernel void axpy4(device half4* y, device const half4* x, constant half& a, uint i [[thread_position_in_grid]]) {
  y[i] += a * x[i];
}
""")
    x, y = torch.randn(512, device=torch_device).half(), torch.randn(512, device=torch_device).half()
    out = y.clone()
    library.axpy(out, x, 0.3)
    exact = 0.3 * x.cpu().double() + y.cpu().double()
    torch.testing.assert_close(out.cpu().double(), exact, rtol=2**-10, atol=1e-6)
    out = y.clone()
    library.axpy4(out, x, 0.75, threads=128, arg_casts={2: "fp16"})
    assert torch.equal(out, y + 0.75 * x)


def test_templates_are_instantiated_under_host_names_in_both_styles(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
struct Square { template <typename T> T operator()(T x) const { return x * x; } };
struct Twice { template <typename T> T operator()(T x) const { return x + x; } };
template <typename T, typename Op>
kernel void map(device T* out [[buffer(0)]], const device T* in [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  out[i] = Op()(in[i]);
}
template [[host_name("square_float")]] kernel void map<float, Square>(
    device float* out [[buffer(0)]], const device float* in [[buffer(1)]], uint i [[thread_position_in_grid]]);
template [[host_name("square_half")]] [[kernel]] decltype(map<half, Square>) map<half, Square>;
#define MAP(op, type) template [[host_name(#op "_" #type)]] [[kernel]] decltype(map<type, op>) map<type, op>;
#define MAPS(op) MAP(op, float) MAP(op, half) MAP(op, int)
MAPS(Twice)
""")
    for name, dtype, f in (
        ("square_float", torch.float32, torch.square),
        ("square_half", torch.float16, torch.square),
        ("Twice_float", torch.float32, lambda x: x + x),
        ("Twice_half", torch.float16, lambda x: x + x),
        ("Twice_int", torch.int32, lambda x: x + x),
    ):
        x = (torch.randn(100, device=torch_device) * 10).to(dtype)
        out = torch.empty_like(x)
        getattr(library, name)(out, x)
        assert torch.equal(out, f(x)), name


def test_a_histogram_collects_in_the_threadgroup_then_on_the_device(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
kernel void histogram(device const uchar* data [[buffer(0)]], device atomic_uint* bins [[buffer(1)]],
                      constant uint& count [[buffer(2)]], uint gid [[thread_position_in_grid]],
                      uint tid [[thread_position_in_threadgroup]], uint width [[threads_per_threadgroup]],
                      uint total [[threads_per_grid]]) {
  threadgroup atomic_uint local_bins[256];
  for (uint b = tid; b < 256; b += width) atomic_store_explicit(&local_bins[b], 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = gid; i < count; i += total)
    atomic_fetch_add_explicit(&local_bins[data[i]], 1u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint b = tid; b < 256; b += width) {
    uint n = atomic_load_explicit(&local_bins[b], memory_order_relaxed);
    if (n > 0) atomic_fetch_add_explicit(bins + b, n, memory_order_relaxed);
  }
}
""")
    data = torch.randint(0, 256, (5000,), dtype=torch.uint8, device=torch_device) // 3
    bins = torch.zeros(256, dtype=torch.int32, device=torch_device)
    library.histogram(data, bins, 5000, threads=4 * 64, group_size=64)
    assert torch.equal(bins.cpu().long(), torch.bincount(data.cpu().long(), minlength=256))


def test_a_prefix_scan_over_simdgroups(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
kernel void scan(device const int* in, device int* out, uint i [[thread_position_in_grid]],
                 uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup int totals[32];
  int inclusive = simd_prefix_inclusive_sum(in[i]);
  if (lane == 31) totals[simd] = inclusive;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simd == 0) {
    int before = simd_prefix_exclusive_sum(lane < 8 ? totals[lane] : 0);
    if (lane < 8) totals[lane] = before;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[i] = inclusive + totals[simd];
}

// The same as Hillis and Steele do it, with two buffers in threadgroup memory.
kernel void scan_steps(device const float* in, device float* out, uint i [[thread_position_in_threadgroup]],
                       uint n [[threads_per_threadgroup]]) {
  threadgroup float buffer[2][256];
  int from = 0;
  buffer[0][i] = in[i];
  for (uint step = 1; step < n; step <<= 1, from ^= 1) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    buffer[from ^ 1][i] = i >= step ? buffer[from][i] + buffer[from][i - step] : buffer[from][i];
  }
  out[i] = buffer[from][i];
}
""")
    x = torch.randint(-100, 100, (256,), dtype=torch.int32, device=torch_device)
    out = torch.empty_like(x)
    library.scan(x, out, group_size=256)
    assert torch.equal(out.long(), x.long().cumsum(0))
    real = torch.empty(256, device=torch_device)
    library.scan_steps(x.float(), real, group_size=256)
    assert torch.equal(real, x.float().cumsum(0))


def test_argmax_by_shuffling_down(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
struct Best { float value; uint index; };
inline Best better(Best a, Best b) {
  return (b.value > a.value || (b.value == a.value && b.index < a.index)) ? b : a;
}
kernel void argmax(device const float* x [[buffer(0)]], device int64_t* out [[buffer(1)]],
    constant int& n [[buffer(2)]],
                   uint row [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                   uint width [[threads_per_simdgroup]]) {
  Best best = {-INFINITY, 0xffffffffu};
  for (uint i = lane; i < (uint)n; i += width) best = better(best, Best{x[row * n + i], i});
  for (ushort offset = width / 2; offset > 0; offset /= 2) {
    Best other;
    other.value = simd_shuffle_down(best.value, offset);
    other.index = simd_shuffle_down(best.index, offset);
    best = better(best, other);
  }
  if (lane == 0) out[row] = best.index;
}
""")
    x = torch.randn(20, 333, device=torch_device)
    x[3, 17] = x[3, 200] = 9.0
    out = torch.empty(20, dtype=torch.int64, device=torch_device)
    library.argmax(x, out, 333, threads=20 * 32, group_size=32)
    assert torch.equal(out, x.argmax(1))


def test_bit_tricks(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
constant uint MASKS[3] = {0x55555555u, 0x33333333u, 0x0f0f0f0fu};
static uint spread(uint x) {
  x &= 0xffff;
  x = (x | (x << 8)) & 0x00ff00ff;
  x = (x | (x << 4)) & MASKS[2];
  x = (x | (x << 2)) & MASKS[1];
  return (x | (x << 1)) & MASKS[0];
}
kernel void bits(device const int* in, device int4* out, uint i [[thread_position_in_grid]]) {
  uint x = as_type<uint>(in[i]);
  float f = as_type<float>((x >> 9) | 0x3f800000u);
  out[i] = int4(popcount(x), reverse_bits(x) >> 3, int(spread(x) | spread(x >> 16) << 1), int((f - 1.0f) * 1000));
}
kernel void morton(device const uint2* at, device uint* code, uint i [[thread_position_in_grid]]) {
  code[i] = spread(at[i].x) | (spread(at[i].y) << 1);
}
""")
    x = torch.randint(-(2**31), 2**31 - 1, (64,), dtype=torch.int64).to(torch.int32)
    out = torch.empty(64, 4, dtype=torch.int32, device=torch_device)
    library.bits(x.to(torch_device), out, threads=64)
    for value, (ones, mirrored, interleaved, thousandths) in zip(x.tolist(), out.tolist(), strict=True):
        u = value & 0xFFFFFFFF
        bits = f"{u:032b}"
        assert ones == bits.count("1")
        assert mirrored == int(bits[::-1], 2) >> 3
        assert interleaved & 0xFFFFFFFF == int("".join(h + low for h, low in zip(bits[:16], bits[16:], strict=True)), 2)
        assert thousandths == int((u >> 9) / 2**23 * 1000)
    at = torch.tensor([[0, 1], [3, 0], [5, 9]], dtype=torch.int32, device=torch_device)
    code = torch.empty(3, dtype=torch.int32, device=torch_device)
    library.morton(at, code, threads=3)
    assert code.tolist() == [2, 5, 0b10010011]


def test_a_random_generator_and_a_three_dimensional_stencil(build, torch_device):
    library = build("""
#include <metal_stdlib>
using namespace metal;
namespace rng {
inline uint pcg(thread uint& state) {
  uint word = state;
  state = state * 747796405u + 2891336453u;
  word = ((word >> ((word >> 28) + 4u)) ^ word) * 277803737u;
  return (word >> 22) ^ word;
}
}  // namespace rng
kernel void fill(device uint* out, constant uint& seed, uint i [[thread_position_in_grid]]) {
  uint state = seed + i;
  for (int k = 0; k < 3; k++) rng::pcg(state);
  out[i] = rng::pcg(state);
}
kernel void blur(device const float* x, device float* y, constant packed_int3& size,
    uint3 p [[thread_position_in_grid]]) {
  const int3 shape = size;
  if (any(int3(p) >= shape)) return;
  const int3 q = int3(p);
  float sum = 0.f;
  for (int d = 0; d < 3; ++d)
    for (int s = -1; s <= 1; s += 2) {
      int3 n = q;
      n[d] = clamp(n[d] + s, 0, shape[d] - 1);
      sum += x[(n.z * shape.y + n.y) * shape.x + n.x];
    }
  y[(q.z * shape.y + q.y) * shape.x + q.x] = sum * (1.0f / 6);
}
""")
    out = torch.empty(50, dtype=torch.int32, device=torch_device)
    library.fill(out, 12345)
    for i, value in enumerate(out.tolist()):
        state = 12345 + i
        for _ in range(4):
            word, state = state, (state * 747796405 + 2891336453) % 2**32
            word = (((word >> ((word >> 28) + 4)) ^ word) * 277803737) % 2**32
            word = (word >> 22) ^ word
        assert value & 0xFFFFFFFF == word

    x = torch.randn(6, 7, 9, device=torch_device)
    y = torch.empty_like(x)
    library.blur(x, y, [9, 7, 6], threads=(12, 8, 8), group_size=(4, 4, 4), arg_casts={2: "int32"})
    padded = torch.nn.functional.pad(x[None, None], (1,) * 6, mode="replicate")[0, 0]
    middle = slice(1, -1)
    expected = sum(
        padded[tuple(slice(1 + s, x.shape[k] + 1 + s) if k == d else middle for k in range(3))]
        for d in range(3)
        for s in (-1, 1)
    )
    torch.testing.assert_close(y, expected / 6)
