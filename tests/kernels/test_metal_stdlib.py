"""What Metal text finds in kernels/cxx: types, swizzles, half, math and integer functions,
    each against torch or Python.

Every kernel here is plain Metal, so that the same file runs on CUDA and on a Mac. Calling kernels is tested elsewhere.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from . import metal_snippets
from .metal_snippets import floats, ints

run = metal_snippets.run

# --- types ----------------------------------------------------------------------------------------


def test_types_have_metals_sizes_and_alignments(run):
    named = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "half": 2, "bfloat": 2, "int": 4, "uint": 4, "float": 4}
    named |= {"long": 8, "ulong": 8, "bool": 1, "size_t": 8, "int8_t": 1, "uint64_t": 8, "atomic_uint": 4}
    expected = []
    text = ""
    for name, size in named.items():
        text += f"a[k++] = sizeof({name}); "
        expected.append(size)
    for name in ("bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "half", "float"):
        for n in (2, 3, 4):
            bytes_ = named[name] * (4 if n == 3 else n)
            text += f"a[k++] = sizeof({name}{n}); a[k++] = alignof({name}{n}); "
            expected += [bytes_, bytes_]
    for n in (2, 3, 4):
        text += f"a[k++] = sizeof(packed_float{n}); a[k++] = alignof(packed_float{n}); "
        expected += [4 * n, 4]
    (out,) = run(f"int k = 0; {text}", torch.zeros(len(expected), dtype=torch.int32), threads=1)
    assert out.tolist() == expected


def test_vectors_are_made_from_any_mix_of_scalars_and_shorter_vectors(run):
    body = """
      float2 u = float2(1, 2); float3 v = float3(3.0f, u); float4 w[5];
      w[0] = float4(u, 5u, half(6)); w[1] = float4(v, 7); w[2] = float4(8, v); w[3] = float4(u, v.yz); w[4] = 9;
      for (uint k = 0; k < 20; ++k) a[k] = w[k / 4][k % 4];
    """
    (out,) = run(body, torch.zeros(20), threads=1)
    assert out.tolist() == [1, 2, 5, 6, 3, 1, 2, 7, 8, 3, 1, 2, 1, 2, 1, 2, 9, 9, 9, 9]


def test_vectors_convert_between_element_types_when_asked(run):
    body = """
      int4 n = int4(float4(1.9f, -1.9f, 250.5f, 0)); uchar4 u = uchar4(n + 10); half2 h = half2(float2(0.1f, 2049));
      a[0] = n.x; a[1] = n.y; a[2] = u.x; a[3] = u.z; a[4] = float(h.x); a[5] = float2(h).y;
    """
    (out,) = run(body, torch.zeros(6), threads=1)
    assert out.tolist() == [1, -1, 11, 4, float(torch.tensor(0.1).half()), 2048]


def test_every_swizzle_reads_what_its_letters_say(run):
    text, expected = "", []
    for n, letters in ((2, "xy"), (3, "xyz"), (4, "xyzw"), (4, "rgba")):
        for k in (2, 3, 4):
            names = ["".join(p) for p in itertools.product(letters, repeat=k)][:: 1 if n < 4 else 7]
            for name in names:
                weights = "1000, 100, 10, 1".split(", ")[:k]
                text += f"a[k++] = dot(float{k}(v{n}.{name}), float{k}({', '.join(weights)}));\n"
                expected.append(sum((letters.index(c) + 1) * int(w) for c, w in zip(name, weights, strict=True)))
    start = "int k = 0; const float2 v2(1, 2); const float3 v3(1, 2, 3); float4 v4(1, 2, 3, 4);\n"
    (out,) = run(start + text, torch.zeros(len(expected)), threads=1)
    assert out.tolist() == expected


def test_writing_a_swizzle_changes_only_its_components(run):
    body = """
      float4 v = float4(1, 2, 3, 4); const float4 w = float4(5, 6, 7, 8);
      v.xy = v.yx; v.zw = w.zw; v.wx += 10; v.gb *= float2(2, 3); v.xyz = w.zxy; v.w = w.r;
    """
    body += "for (uint k = 0; k < 4; ++k) a[k] = v[k]; v = w; "
    body += "v.xy = w.xy; v.wz = v.xy; for (uint k = 0; k < 4; ++k) a[4 + k] = v[k];"
    (out,) = run(body, torch.zeros(8), threads=1)
    assert out.tolist() == [7, 5, 6, 5, 5, 6, 6, 5]


def test_a_swizzle_of_a_swizzle_is_read_and_written_as_one(run):
    body = """
      float4 v = float4(1, 2, 3, 4); thread float4* w = &v;
      float2 u = v.wzyx.yz; a[0] = u.x; a[1] = u.y; a[2] = v.zw.y; a[3] = v.zwx.zyx.x; a[4] = w->wz.x;
      a[5] = v.gbar.rb.y; a[6] = v.wzyx[1] + 0.5f;
      v.wzyx.zw = float2(7, 8); a[7] = v.x; a[8] = v.y; v.yzw.x += 1; a[9] = v.y;
    """
    (out,) = run(body, torch.zeros(10), threads=1)
    assert out.tolist() == [3, 2, 4, 1, 4, 4, 3.5, 8, 7, 8]


def test_a_member_named_as_a_swizzle_stays_one(run):
    body = (
        "struct P { float2 xy; float x; } p; p.xy = float2(20, 30); p.x = 40; a[0] = p.xy.y; a[1] = p.xy.x; a[2] = p.x;"
    )
    (out,) = run(body, torch.zeros(2), threads=1)
    assert out.tolist() == [30, 20]


def test_a_view_kept_in_a_variable_is_a_copy(run):
    (out,) = run(
        "float4 v = float4(1, 2, 3, 4); auto s = v.wz; v = 0; float2 t = s; a[0] = t.x; a[1] = t.y;",
        torch.zeros(2),
        threads=1,
    )
    assert out.tolist() == [4, 3]


def test_vector_operators_work_element_by_element_and_spread_scalars(run):
    body = """
      int k = 0; int3 u = int3(7, -8, 9), v = int3(2, 3, -4);
      int3 r[] = {u + v, u - v, u * v, u / v, u % v, u & v, u | v, u ^ v, u << 2, u >> 1, ~u, -u, 10 - u, u * 2,
                  int3(u < v), int3(u == v), int3(u != 9), int3(!(u > 0)), int3((u > 0) && (v > 0)),
                  int3((u > 0) || (v > 0))};
      for (int3 x : r) { a[k++] = x.x; a[k++] = x.y; a[k++] = x.z; }
      u += v; u *= 2; u -= 1; u <<= 1; ++u; u++; a[k++] = u.x; a[k++] = u[1]; a[k++] = u.z;
    """
    (out,) = run(body, torch.zeros(63, dtype=torch.int32), threads=1)
    pairs = list(zip((7, -8, 9), (2, 3, -4), strict=True))
    functions = [
        lambda u, v: u + v, lambda u, v: u - v, lambda u, v: u * v, lambda u, v: int(u / v),
        lambda u, v: int(math.fmod(u, v)), lambda u, v: u & v, lambda u, v: u | v, lambda u, v: u ^ v,
        lambda u, v: u << 2, lambda u, v: u >> 1, lambda u, v: ~u, lambda u, v: -u, lambda u, v: 10 - u,
        lambda u, v: u * 2, lambda u, v: int(u < v), lambda u, v: int(u == v), lambda u, v: int(u != 9),
        lambda u, v: int(not u > 0), lambda u, v: int(u > 0 and v > 0), lambda u, v: int(u > 0 or v > 0),
        lambda u, v: (((u + v) * 2 - 1) << 1) + 2,
    ]  # fmt: skip
    assert out.tolist() == [f(u, v) for f in functions for u, v in pairs]


def test_packed_vectors_lie_close_and_compute_as_vectors(run):
    body = """
      packed_float3 p = b[i]; p.y += 1; float3 v = p * 2.0f; p.x = length(v.xz); a[i] = p; a[i][2] = v.y;
    """
    given = torch.arange(9.0)
    out, _ = run(body, torch.zeros(9), given, threads=3, types=("packed_float3", "packed_float3"))
    x, y, z = given.view(3, 3).unbind(1)
    torch.testing.assert_close(out.view(3, 3), torch.stack([(4 * x * x + 4 * z * z).sqrt(), y + 1, 2 * (y + 1)], 1))


def test_numeric_limits_are_those_of_ieee_and_twos_complement(run):
    body = """
      a[0] = numeric_limits<float>::max(); a[1] = -numeric_limits<float>::infinity();
      a[2] = float(numeric_limits<half>::max());
      a[3] = numeric_limits<float>::epsilon(); a[4] = FLT_MIN; a[5] = isnan(NAN); a[6] = INFINITY; a[7] = M_PI_F;
      b[0] = numeric_limits<int>::min(); b[1] = numeric_limits<uint>::max() == UINT_MAX;
      b[2] = numeric_limits<short>::lowest();
      b[3] = numeric_limits<uchar>::max(); b[4] = numeric_limits<long>::max() == LONG_MAX;
      b[5] = numeric_limits<char>::min();
      b[6] = numeric_limits<ulong>::min() == 0; b[7] = INT_MAX;
    """
    out, whole = run(body, torch.zeros(8), torch.zeros(8, dtype=torch.int32), threads=1)
    f32 = torch.finfo(torch.float32)
    assert out.tolist() == [f32.max, -math.inf, 65504, f32.eps, f32.tiny, 1, math.inf, float(np.float32(math.pi))]
    assert whole.tolist() == [-(2**31), 1, -32768, 255, 1, -128, 1, 2**31 - 1]


def test_as_type_keeps_the_bits(run):
    body = (
        "b[0] = as_type<int>(a[0]); a[1] = as_type<float>(b[1]); uint2 u = as_type<uint2>(float2(1, -2)); b[2] = u.y;"
    )
    body += "half2 h = as_type<half2>(0x3c00c000u); a[2] = float(h.x); a[3] = float(h.y);"
    out, whole = run(body, floats(-1.5, 0, 0, 0), ints(0, 0x40490FDB, 0), threads=1)
    assert whole[0].item() == floats(-1.5).view(torch.int32).item()
    assert out[1:].tolist() == [float(np.float32(math.pi)), -2, 1]
    assert whole[2].item() == floats(-2).view(torch.int32).item()


def test_metal_array_and_type_traits_exist(run):
    body = """
      metal::array<int, 3> t = {{4, 5, 6}}; a[0] = t[1] + int(t.size());
      a[1] = is_same<uint, uint32_t>::value; a[2] = is_floating_point<half>::value;
      a[3] = metal::is_integral_v<ushort>;
      metal::conditional_t<true, float, int> x = 2.5f; a[4] = int(x * 2);
    """
    (out,) = run(body, torch.zeros(5, dtype=torch.int32), threads=1)
    assert out.tolist() == [8, 1, 1, 1, 5]


# --- half and bfloat ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "dtype"), [("half", torch.float16), ("bfloat", torch.bfloat16)])
def test_every_sixteen_bit_number_turns_into_the_same_float_and_back(run, name, dtype):
    every = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)
    back, out, _ = run(
        f"b[i] = float(c[i]); a[i] = {name}(b[i]);", torch.zeros_like(every), torch.zeros(65536), every, threads=65536
    )
    number = ~every.isnan()
    normal = number & ((every.float().abs() >= torch.finfo(dtype).tiny) | (every == 0)) | (
        number & (dtype == torch.float16)
    )
    assert torch.equal(out[normal], every.float()[normal])
    assert torch.equal(back.view(torch.int16)[normal], every.view(torch.int16)[normal])
    assert out[~number].isnan().all()
    assert back[~number].isnan().all()


@pytest.mark.parametrize(("name", "dtype"), [("half", torch.float16), ("bfloat", torch.bfloat16)])
def test_floats_round_to_sixteen_bits_to_nearest_even(run, name, dtype):
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(20000, generator=generator) * torch.exp(torch.randn(20000, generator=generator) * 4)
    ties = torch.arange(1, 200).to(torch.float32) * torch.finfo(dtype).eps / 2 + 1
    limits = floats(
        65504, 65519, 65520, 1e6, -65520, math.inf, -math.inf, 0.0, -0.0, 2**-24, 2**-25, 2**-25 * 1.01, 2**-15
    )
    x = torch.cat([x, ties, -ties, limits])
    out, _ = run(f"a[i] = {name}(b[i]);", torch.zeros(x.numel(), dtype=dtype), x, threads=x.numel())
    assert torch.equal(out.view(torch.int16), x.to(dtype).view(torch.int16))


def test_half_arithmetic_rounds_every_operation_to_half(run):
    x = torch.linspace(-300, 300, 1001).half()
    y = torch.linspace(0.01, 7, 1001).half()
    body = "half x = c[i], y = d[i]; a[4 * i] = x + y; a[4 * i + 1] = x * y; "
    body += "a[4 * i + 2] = x / y; a[4 * i + 3] = -x - y; b[i] = x < y;"
    out, less, *_ = run(body, torch.zeros(4004).half(), torch.zeros(1001, dtype=torch.int32), x, y, threads=1001)
    assert torch.equal(out.view(-1, 4), torch.stack([x + y, x * y, x / y, -x - y], 1))
    assert torch.equal(less.bool(), x < y)


def test_half_with_an_int_is_half_and_with_a_float_is_float(run):
    body = """
      half h = half(2049.0f / 2); h += 1; h *= 2; b[0] = sizeof(h + 1); b[1] = sizeof(h * 1.0f);
      b[2] = sizeof(1u - h);
      b[3] = sizeof(max(h, half(1))); a[0] = float(h * 2.0f); a[1] = h + 1; a[2] = 1.0h + 0.5h;
      b[4] = int(h) + (h > 3) + (h != 0.5f);
      float f = h; h = f; h++; a[3] = h; a[4] = float(half2(h, 3).x / 2);
    """
    out, whole = run(body, torch.zeros(5), torch.zeros(5, dtype=torch.int32), threads=1)
    h = torch.tensor(2049.0 / 2).half()
    h = (h + 1) * 2
    assert whole.tolist() == [2, 4, 2, 2, int(h) + 2]
    assert out.tolist() == [float(h) * 2, float(h + 1), 1.5, float(h + 1), float((h + 1) / 2)]


# --- functions ------------------------------------------------------------------------------------

UNARY = {
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": lambda x: np.arcsin(np.clip(x, -1, 1)), "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "exp": np.exp, "exp2": np.exp2,
    "exp10": lambda x: 10.0**x, "log": lambda x: np.log(abs(x)), "log2": lambda x: np.log2(abs(x)),
    "log10": lambda x: np.log10(abs(x)), "sqrt": lambda x: np.sqrt(abs(x)), "rsqrt": lambda x: 1 / np.sqrt(abs(x)),
    "floor": np.floor, "ceil": np.ceil, "rint": np.rint, "trunc": np.trunc, "sign": np.sign, "fabs": np.abs,
    "abs": np.abs,
    "round": lambda x: np.copysign(np.floor(abs(x) + 0.5), x), "fract": lambda x: x - np.floor(x),
    "saturate": lambda x: np.clip(x, 0, 1), "sinpi": lambda x: np.sin(np.pi * x), "cospi": lambda x: np.cos(np.pi * x),
    "precise::sin": np.sin, "metal::precise::exp": np.exp, "acosh": lambda x: np.arccosh(1 + abs(x)),
    "atanh": lambda x: np.arctanh(np.clip(x, -0.5, 0.5)), "acos": lambda x: np.arccos(np.clip(x, -1, 1)),
}  # fmt: skip
INSIDE = {"asin": "clamp(x, -1.0f, 1.0f)", "acos": "clamp(x, -1.0f, 1.0f)", "atanh": "clamp(x, -0.5f, 0.5f)"}
INSIDE |= {"acosh": "1 + abs(x)"} | dict.fromkeys(("log", "log2", "log10", "sqrt", "rsqrt"), "abs(x)")


def test_float_functions_agree_with_float64_to_a_few_units(run):
    x = torch.cat([torch.linspace(-9.7, 9.7, 996), floats(0.5, -0.5, 1.5, 2.5)])
    text = "float x = b[i]; "
    for k, name in enumerate(UNARY):
        text += f"a[{len(UNARY)} * i + {k}] = {name}({INSIDE.get(name, 'x')}); "
    out, _ = run(text, torch.zeros(1000 * len(UNARY)), x, threads=1000)
    exact_x = x.double().numpy()
    for name, column in zip(UNARY, out.view(1000, -1).double().numpy().T, strict=True):
        inner = exact_x
        if name == "acosh":
            inner = (1 + x.abs()).double().numpy() - 1  # the argument as the kernel rounds it
        np.testing.assert_allclose(column, UNARY[name](inner), rtol=6e-7, atol=4e-7, err_msg=name)


def test_functions_of_two_and_three_arguments_agree_with_float64(run):
    x, y, z = (torch.linspace(0.1, 4, 257), torch.linspace(3, -2, 257), torch.linspace(-0.5, 1.5, 257))
    body = """
      float x = b[i], y = c[i], z = d[i], whole, co; int e; uint k = 20 * i;
      a[k++] = pow(x, y); a[k++] = powr(x, y); a[k++] = atan2(y, x); a[k++] = fmod(y, x); a[k++] = copysign(x, y);
      a[k++] = fmin(x, y); a[k++] = max(x, y); a[k++] = clamp(y, 0.0f, 1.0f); a[k++] = mix(x, y, z);
      a[k++] = step(z, y);
      a[k++] = smoothstep(0.0f, 1.0f, z); a[k++] = fma(x, y, z); a[k++] = ldexp(x, 3); a[k++] = modf(y, whole);
      a[k++] = whole;
      a[k++] = sincos(x, co); a[k++] = co; a[k++] = frexp(x, e); a[k++] = e; a[k++] = fdim(x, y);
    """
    out, *_ = run(body, torch.zeros(257 * 20), x, y, z, threads=257)
    x, y, z = (t.double().numpy() for t in (x, y, z))
    s = np.clip(z, 0, 1)
    expected = [x**y, x**y, np.arctan2(y, x), np.fmod(y, x), np.copysign(x, y), np.minimum(x, y), np.maximum(x, y),
                np.clip(y, 0, 1), x + (y - x) * z, np.where(y < z, 0, 1), s * s * (3 - 2 * s), x * y + z,
                x * 8, *np.modf(y),
                np.sin(x), np.cos(x), *np.frexp(x), np.maximum(x - y, 0)]  # fmt: skip
    np.testing.assert_allclose(out.view(257, 20).double().numpy(), np.stack(expected, 1), rtol=1e-6, atol=1e-6)


def test_functions_work_on_vectors_and_swizzles(run):
    body = """
      float4 v = float4(0.5f, -1, 2, 3); float4 r = max(min(sin(v), v.wzyx), 0.1f); float2 m = mix(v.xy, v.zw, 0.25f);
      for (int k = 0; k < 4; ++k) a[k] = r[k];
      a[4] = m.x; a[5] = m.y; a[6] = dot(v.xyz, v.yzw); a[7] = length(v.xy); float3 c = cross(v.xyz, float3(0, 0, 1));
      a[8] = c.x; a[9] = c.y; a[10] = length(normalize(v)); a[11] = distance(v.xy, v.zw); a[12] = any(v.xy < 0);
      a[13] = all(v > -2);
      float2 s = select(v.xy, v.zw, v.xy < 0.0f); a[14] = s.x; a[15] = s.y; a[16] = clamp(v, -0.5f, 1.0f).y;
      a[17] = float(dot(half2(3, 4), half2(3, 4))); a[18] = abs(int2(-3, 4)).x; a[19] = length_squared(v.xy);
    """
    (out,) = run(body, torch.zeros(20), threads=1)
    expected = [max(math.sin(0.5), 0.1), 0.1, 0.1, max(math.sin(3), 0.1), 0.875, 0.0, 0.5 * -1 - 2 + 6,
    math.hypot(0.5, 1),
                -1.0, -0.5, 1, math.hypot(1.5, 4), 1, 1, 0.5, 3, -0.5, 25, 3, 1.25]  # fmt: skip
    np.testing.assert_allclose(out.numpy(), expected, rtol=2e-6)


def test_minimum_and_maximum_drop_nan_and_keep_infinity(run):
    body = "a[0] = fmin(NAN, 1.0f); a[1] = max(2.0f, NAN); a[2] = isinf(a[3]); a[3] = isfinite(a[3]) + isnan(NAN) * 2;"
    (out,) = run(body, floats(0, 0, 0, math.inf), threads=1)
    assert out.tolist() == [1, 2, 1, 2]


def test_numbers_are_ordered_unless_one_is_nan(run):
    body = """
      a[0] = isordered(1.0f, b[0]); a[1] = isordered(INFINITY, 2.0f); a[2] = isunordered(half(1), half(NAN));
      a[3] = isunordered(1.0f, 2.0f);
      bool2 v = metal::isunordered(float2(NAN, 1), float2(1, 2)); a[4] = v.x; a[5] = v.y;
    """
    out, _ = run(body, floats(9, 9, 9, 9, 9, 9), floats(math.nan), threads=1)
    assert out.tolist() == [0, 1, 1, 0, 1, 0]


def test_arguments_of_mixed_integer_types_resolve(run):
    body = """
      uint u = 7; int s = -3; ushort h = 9; long l = 5; a[0] = min(1u, u); a[1] = max(s, 2);
      a[2] = clamp(int(h), 0, 8);
      a[3] = min(ushort(u), h); a[4] = max(l, long(u)); a[5] = min(u, 3u) + max(uint(h), u); a[6] = abs(s);
      a[7] = int(min(l, 4l));
    """
    (out,) = run(body, torch.zeros(8, dtype=torch.int32), threads=1)
    assert out.tolist() == [1, 2, 8, 7, 7, 12, 3, 4]


def test_half_functions_are_the_float_functions_rounded(run):
    x = torch.linspace(0.1, 5, 500).half()
    body = "half x = c[i]; a[3 * i] = sin(x); "
    body += "a[3 * i + 1] = sqrt(x); a[3 * i + 2] = fma(x, x, half(1)); b[i] = float(max(x, half(2)));"
    out, largest, _ = run(body, torch.zeros(1500).half(), torch.zeros(500), x, threads=500)
    f = x.float()
    expected = torch.stack([f.sin(), f.sqrt(), f * f + 1], 1)
    torch.testing.assert_close(out.view(-1, 3).float(), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(largest, f.clamp(min=2))


def _signed(value, bits=32):
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


def test_integer_functions_agree_with_python(run):
    values = [0, 1, -1, 2**31 - 1, -(2**31), 12345678, -87654321, 0x0F0F0F0F, 255, 1 << 20]
    other = [5, -7, 31, 2, -1, 99, 12, -3, 2**31 - 1, -(2**31)]
    body = """
      int x = b[i], y = c[i]; uint u = x, v = y; uint k = 17 * i;
      a[k++] = popcount(x); a[k++] = clz(u); a[k++] = ctz(x); a[k++] = reverse_bits(x); a[k++] = rotate(u, v);
      a[k++] = mulhi(x, y);
      a[k++] = mulhi(u, v); a[k++] = absdiff(x, y); a[k++] = hadd(x, y); a[k++] = rhadd(x, y); a[k++] = addsat(x, y);
      a[k++] = subsat(x, y); a[k++] = addsat(u, v); a[k++] = extract_bits(x, 4, 5); a[k++] = extract_bits(u, 4, 5);
      a[k++] = insert_bits(u, v, 8, 6); a[k++] = mul24(x & 0xffff, y & 0xff);
    """
    out, *_ = run(body, torch.zeros(170, dtype=torch.int32), ints(*values), ints(*other), threads=10)

    def expected(x, y):
        u, v = x & 0xFFFFFFFF, y & 0xFFFFFFFF
        by = v % 32
        clamp = lambda n: max(-(2**31), min(2**31 - 1, n))  # noqa: E731
        field = u >> 4 & 31
        return [bin(u).count("1"), 32 - u.bit_length(), (u & -u).bit_length() - 1 if u else 32,
        int(f"{u:032b}"[::-1], 2),
                u << by | u >> (32 - by), x * y >> 32, u * v >> 32, abs(x - y), (x + y) >> 1, (x + y + 1) >> 1,
                clamp(x + y),
                clamp(x - y), min(u + v, 0xFFFFFFFF), field - 32 if field & 16 else field, field,
                (u & ~(63 << 8)) | (v & 63) << 8, (x & 0xFFFF) * (y & 0xFF)]  # fmt: skip

    assert out.view(10, 17).tolist() == [
        [_signed(n) for n in expected(x, y)] for x, y in zip(values, other, strict=True)
    ]


def test_integer_functions_work_on_every_width(run):
    body = """
      a[0] = clz(uchar(1)); a[1] = clz(short(1)); a[2] = clz(1ul); a[3] = popcount(long(-1));
      a[4] = reverse_bits(uchar(1));
      a[5] = rotate(ushort(0x8001), ushort(1)); a[6] = mulhi(long(1) << 62, 16l); a[7] = addsat(char(100), char(100));
      uint2 p = popcount(uint2(7, 8)); a[8] = p.x; a[9] = p.y; a[10] = ctz(0u); a[11] = subsat(uchar(3), uchar(5));
    """
    (out,) = run(body, torch.zeros(12, dtype=torch.int32), threads=1)
    assert out.tolist() == [7, 15, 63, 64, 128, 3, 4, 127, 3, 1, 32, 0]


def test_names_of_the_standard_library_are_not_taken_from_the_user(run):
    before = """
      inline float erf(float x) { return x + 1; }
      constant float y0 = 2.0f;
      static inline float2 hypot(float2 j1, float clock) { return j1 * clock; }
    """
    (out,) = run("a[0] = erf(y0); a[1] = hypot(float2(1, 3), 2).y;", torch.zeros(2), threads=1, before=before)
    assert out.tolist() == [3, 6]
