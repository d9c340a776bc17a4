"""Where threads meet in Metal text: simdgroup and quadgroup functions and atomics, each against Python."""

from __future__ import annotations

import functools
import math

import torch

from . import metal_snippets
from .metal_snippets import floats, ints

run = metal_snippets.run

# --- simdgroups -----------------------------------------------------------------------------------


def test_simd_reductions_combine_all_lanes(run):
    values = torch.arange(64, dtype=torch.int32) * 7 % 23 + 1
    body = """
      int x = b[i]; int k = 7 * i; a[k++] = simd_sum(x); a[k++] = simd_min(x); a[k++] = simd_max(x);
      a[k++] = simd_and(x | 64);
      a[k++] = simd_or(x); a[k++] = simd_xor(x); a[k++] = simd_product(lane < 5 ? x : 1);
    """
    out, _ = run(body, torch.zeros(64 * 7, dtype=torch.int32), values, threads=64, group_size=64)
    for start in (0, 32):
        group = values[start : start + 32].tolist()
        expected = [sum(group), min(group), max(group), functools.reduce(lambda p, q: p & q, [g | 64 for g in group]),
                    functools.reduce(lambda p, q: p | q, group), functools.reduce(lambda p, q: p ^ q, group),
                    math.prod(group[:5])]  # fmt: skip
        assert out.view(64, 7)[start : start + 32].tolist() == [expected] * 32


def test_simd_prefix_functions_run_along_the_lanes(run):
    values = torch.arange(32, dtype=torch.int32) % 5 + 1
    body = """
      int x = b[i]; int k = 4 * i; a[k++] = simd_prefix_inclusive_sum(x); a[k++] = simd_prefix_exclusive_sum(x);
      a[k++] = simd_prefix_inclusive_product(lane < 8 ? x : 1);
      a[k++] = simd_prefix_exclusive_product(lane < 8 ? x : 1);
    """
    out, _ = run(body, torch.zeros(128, dtype=torch.int32), values, threads=32, group_size=32)
    sums = values.cumsum(0)
    product = torch.where(torch.arange(32) < 8, values, 1).cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.int64), product[:-1]])
    assert out.view(32, 4).tolist() == torch.stack([sums, sums - values, product, before], 1).tolist()


def test_simd_shuffles_move_values_between_lanes(run):
    body = """
      int x = b[i]; int k = 8 * i; a[k++] = simd_shuffle(x, 31 - lane); a[k++] = simd_shuffle_xor(x, 5);
      a[k++] = simd_broadcast(x, 3);
      a[k++] = simd_shuffle_rotate_down(x, 4); a[k++] = simd_shuffle_rotate_up(x, 4);
      a[k++] = simd_broadcast_first(x);
      a[k++] = simd_shuffle_and_fill_down(x, -x, 3); a[k++] = simd_shuffle_and_fill_up(x, -x, 3, 8);
      int up = simd_shuffle_up(x, 2), down = simd_shuffle_down(x, 2); c[2 * i] = lane >= 2 ? up : 0;
      c[2 * i + 1] = lane < 30 ? down : 0;
    """
    values = torch.arange(100, 132, dtype=torch.int32)
    out, _, moved = run(
        body, torch.zeros(256, dtype=torch.int32), values, torch.zeros(64, dtype=torch.int32), threads=32, group_size=32
    )
    v = values.tolist()

    def fill_up(lane):
        return v[lane - 3] if lane % 8 >= 3 else -v[lane - lane % 8 + (lane % 8 - 3) % 8]

    expected = [[v[31 - n], v[n ^ 5], v[3], v[(n + 4) % 32], v[(n - 4) % 32], v[0],
    v[n + 3] if n < 29 else -v[n + 3 - 32],
                 fill_up(n)] for n in range(32)]  # fmt: skip
    assert out.view(32, 8).tolist() == expected
    assert moved.view(32, 2).tolist() == [[v[n - 2] if n >= 2 else 0, v[n + 2] if n < 30 else 0] for n in range(32)]


def test_vectors_and_halves_pass_through_simd_functions(run):
    body = """
      float2 v = float2(b[i], -b[i]); v = simd_shuffle_xor(v, 1); half h = simd_sum(half(1));
      half4 q = simd_max(half4(b[i], 0, 1, 2));
      float4 w = simd_sum(float4(v, 1, b[i])); int k = 5 * i;
      a[k++] = v.x; a[k++] = v.y; a[k++] = float(h); a[k++] = float(q.x); a[k++] = w.w;
    """
    values = torch.arange(32.0)
    out, _ = run(body, torch.zeros(160), values, threads=32, group_size=32)
    assert out.view(32, 5).tolist() == [[n ^ 1, -(n ^ 1), 32, 31, 496] for n in range(32)]


def test_votes_count_the_lanes_that_say_yes(run):
    body = """
      ulong v = (ulong)simd_ballot(lane % 3 == 0); a[4 * i] = popcount(v);
      a[4 * i + 1] = simd_any(lane == 40) + 2 * simd_all(lane < 32);
      int n = 0;
      if (lane >= 8 && lane < 24) { n = simd_is_first() + 2 * popcount((ulong)simd_active_threads_mask());
      } a[4 * i + 2] = n;
      a[4 * i + 3] = simd_ballot(true).all();
    """
    (out,) = run(body, torch.zeros(128, dtype=torch.int32), threads=32, group_size=32)
    assert out.view(32, 4).tolist() == [[11, 2, (33 if n == 8 else 32) if 8 <= n < 24 else 0, 1] for n in range(32)]


def test_quad_functions_stay_within_four_lanes(run):
    body = """
      int x = b[i]; int k = 7 * i; a[k++] = quad_sum(x); a[k++] = quad_max(x); a[k++] = quad_shuffle_xor(x, 2);
      a[k++] = quad_broadcast(x, 1);
      a[k++] = quad_prefix_inclusive_sum(x); a[k++] = quad_shuffle_rotate_down(x, 1); a[k++] = quad_any(x == 5);
    """
    values = torch.arange(32, dtype=torch.int32)
    out, _ = run(body, torch.zeros(224, dtype=torch.int32), values, threads=32, group_size=32)

    def expected(n):
        q = n & ~3
        return [4 * q + 6, q + 3, n ^ 2, q + 1, sum(range(q, n + 1)), q + (n + 1) % 4, int(q == 4)]

    assert out.view(32, 7).tolist() == [expected(n) for n in range(32)]


# --- atomics --------------------------------------------------------------------------------------


def test_atomics_on_device_memory_lose_nothing_across_threadgroups(run):
    body = """
      atomic_fetch_add_explicit(&a[0], 1, memory_order_relaxed);
      atomic_fetch_sub_explicit(&a[1], 2, memory_order_relaxed);
      atomic_fetch_min_explicit(&a[2], -int(i), memory_order_relaxed);
      atomic_fetch_max_explicit(&a[3], int(i), memory_order_relaxed);
      atomic_fetch_or_explicit(&a[4], 1 << (i % 31), memory_order_relaxed);
      atomic_fetch_and_explicit(&a[5], ~(1 << (i % 31)), memory_order_relaxed);
      atomic_fetch_xor_explicit(&a[6], int(i), memory_order_relaxed);
      atomic_store_explicit(&a[7], 77, memory_order_relaxed);
      atomic_fetch_add_explicit(b, 0.5f, memory_order_relaxed);
    """
    n = 3000
    whole, real = run(body, ints(0, 0, 0, 0, 0, -1, 0, 0), floats(0), threads=n, types=("atomic_int", "atomic_float"))
    xor = functools.reduce(lambda p, q: p ^ q, range(n))
    assert whole.tolist() == [n, -2 * n, 1 - n, n - 1, 2**31 - 1, -(2**31), xor, 77]
    assert real.item() == n / 2


def test_every_ticket_of_a_counter_is_drawn_once(run):
    body = "uint t = atomic_fetch_add_explicit(a, 1u, memory_order_relaxed); b[t] = int(i);"
    _, owners = run(
        body, ints(0), torch.full((2000,), -1, dtype=torch.int32), threads=2000, types=("atomic_uint", "int")
    )
    assert sorted(owners.tolist()) == list(range(2000))


def test_compare_exchange_builds_other_operations(run):
    body = """
      uint seen = atomic_load_explicit(a, memory_order_relaxed);
      while (!atomic_compare_exchange_weak_explicit(a, &seen, seen * 3u + 1u, memory_order_relaxed,
                                                    memory_order_relaxed)) {}
      int before = atomic_exchange_explicit(b, int(i), memory_order_relaxed); if (before < 0) c[0] = before;
    """
    out, _, first = run(body, ints(0), ints(-5), ints(0), threads=1000, types=("atomic_uint", "atomic_int", "int"))
    expected = 0
    for _ in range(1000):
        expected = (expected * 3 + 1) & 0xFFFFFFFF
    assert out[0].item() & 0xFFFFFFFF == expected
    assert first.item() == -5
