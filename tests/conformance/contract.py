"""The call contract of torch.mps.compile_shader, release by release, as data: what is bound, refused and offered.

From the sources and binaries of torch 2.7 to 2.15 (of 2.15.0: the wheel for macOS, in which nothing of a call is new).
`since` is the first release that behaves so; each entry is run by test_contract.py on every compiler that can launch
here, and by the double of torch.mps to know what to refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

RELEASES = ("2.7", "2.8", "2.9", "2.10", "2.11", "2.12", "2.13", "2.14", "2.15")

# Names in torch.mps that are documented, by release; nothing else may be used. 2.6 had a private compiler only.
_ALWAYS = (
    "compile_shader current_allocated_memory device_count driver_allocated_memory empty_cache event get_rng_state "
    "manual_seed profiler recommended_max_memory seed set_per_process_memory_fraction set_rng_state synchronize Event"
).split()
SURFACE = {release: frozenset(_ALWAYS) for release in RELEASES}
for _release in ("2.13", "2.14", "2.15"):
    SURFACE[_release] |= {"load_metallib"}

SURFACE["2.15"] |= {"Stream", "stream", "current_stream", "set_stream", "default_stream"}

KEYWORDS = {release: frozenset(("threads", "group_size", "arg_casts")) for release in RELEASES}
for _release in ("2.11", "2.12", "2.13", "2.14", "2.15"):
    KEYWORDS[_release] |= {"error_buf_idx"}
PROPERTIES = frozenset(("max_threads_per_threadgroup", "thread_execution_width", "static_thread_group_memory_length"))
CASTS = frozenset(("fp16", "bf16", "int32", "int16", "int8", "uint8"))

SOURCE = """#include <metal_stdlib>
using namespace metal;
kernel void floats(constant float* in [[buffer(0)]], device float* out [[buffer(1)]],
                   uint i [[thread_position_in_grid]]) {
  out[i] = in[i];
}
kernel void longs(constant long* in [[buffer(0)]], device long* out [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  out[i] = in[i];
}
kernel void ints(constant int* in [[buffer(0)]], device int* out [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  out[i] = in[i];
}
kernel void halves(device const half* in [[buffer(0)]], device half* out [[buffer(1)]],
                   uint i [[thread_position_in_grid]]) {
  out[i] = in[i];
}
kernel void complexes(const device float2* in [[buffer(0)]], device float2* out [[buffer(1)]],
                      uint i [[thread_position_in_grid]]) {
  out[i] = in[i];
}
kernel void add_one(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] += 1.0f;
}
kernel void gathered(device float* constant* rows [[buffer(0)]], device float* out [[buffer(1)]],
                     uint i [[thread_position_in_grid]]) {
  out[i] = rows[i][0];
}
[[max_total_threads_per_threadgroup(64)]] kernel void bounded(device float* x [[buffer(0)]],
                                                              uint i [[thread_position_in_grid]]) {
  threadgroup float t[64];
  t[i % 64] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = t[i % 64] + 1.0f;
}
kernel void places(device int* out [[buffer(0)]], uint2 p [[thread_position_in_grid]],
                   uint2 g [[threads_per_threadgroup]], uint2 n [[threads_per_grid]]) {
  out[p.y * n.x + p.x] = int(g.x * 100 + g.y);
}
kernel void hungry(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  threadgroup float t[9000];
  t[i] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = t[0];
}
"""
# torch has no limit of its own; Metal's is 31 buffers.
MANY = 31
SOURCE += f"""kernel void many({", ".join(f"constant int* a{i} [[buffer({i})]]" for i in range(MANY - 1))},
                 device int* out [[buffer({MANY - 1})]]) {{
  {" ".join(f"out[{i}] = a{i}[0];" for i in range(MANY - 1))}
}}
"""


@dataclass(frozen=True)
class Entry:
    """One line of the contract. `run` gets the library and a function that makes tensors on its device; it returns what
    happened, or raises."""

    name: str
    run: Callable[[Any, Callable[..., torch.Tensor]], Any]
    expected: Any = None
    error: type[Exception] | tuple[type[Exception], ...] | None = None
    message: str | None = None
    since: str = "2.7"
    before: Any = None  # what earlier releases do; None: they raise


def _read(kernel: str, dtype: torch.dtype, argument: Any, count: int = 1, **options: Any):
    def run(library: Any, make: Callable[..., torch.Tensor]) -> list:
        out = make(torch.zeros(count, dtype=dtype))
        value = make(argument) if isinstance(argument, torch.Tensor) and argument.dim() else argument
        getattr(library, kernel)(value, out, threads=count, **options)
        return out.tolist()

    return run


def _add_one(shape: Any = (5,), **options: Any):
    def run(library: Any, make: Callable[..., torch.Tensor]) -> list:
        x = make(torch.zeros(shape))
        library.add_one(x, **options)
        return x.tolist()

    return run


def _call(kernel: str, *args: Any, size: int = 100, **options: Any):
    def run(library: Any, make: Callable[..., torch.Tensor]) -> list:
        x = make(torch.zeros(size))
        getattr(library, kernel)(x, *args, **options)
        return x.tolist()

    return run


def _offset(library: Any, make: Callable[..., torch.Tensor]) -> list:
    base = make(torch.zeros(8))
    library.add_one(base[3:], threads=2)
    return base.tolist()


def _places(library: Any, make: Callable[..., torch.Tensor]) -> list:
    out = make(torch.zeros(6, dtype=torch.int32))
    library.places(out, threads=(3, 2), group_size=(3, 1))
    return out.tolist()


def _gathered(library: Any, make: Callable[..., torch.Tensor]) -> list:
    rows, out = [make(torch.tensor([float(n)])) for n in (4, 5)], make(torch.zeros(2))
    library.gathered(rows, out, threads=2)
    return out.tolist()


def _many(library: Any, make: Callable[..., torch.Tensor]) -> list:
    out = make(torch.zeros(MANY - 1, dtype=torch.int32))
    library.many(*range(MANY - 1), out, threads=1)
    return out.tolist()


F, L, I, H, C = torch.float32, torch.int64, torch.int32, torch.float16, torch.complex64  # noqa: E741
RE = RuntimeError
ENTRIES = [
    Entry("a tensor is bound by its storage and offset", _offset, [0, 0, 0, 1, 1, 0, 0, 0]),
    Entry("threads default to the elements of the first tensor", _add_one(), [1] * 5),
    Entry(
        "a complex tensor is pairs of floats",
        _read("complexes", C, torch.tensor([1 + 2j], dtype=C, device="cpu")),
        [1 + 2j],
    ),
    Entry("an int is 64 bits", _read("longs", L, -(2**40)), [-(2**40)]),
    Entry("a bool is an int", _read("longs", L, True), [1]),
    Entry("an int is readable by its low half", _read("ints", I, 7), [7]),
    Entry("a float is 32 bits", _read("floats", F, 0.5), [0.5]),
    Entry("a list of ints is 64-bit", _read("longs", L, [1, 2], 2), [1, 2]),
    Entry("64 numbers are one list", _read("longs", L, list(range(64)), 64), list(range(64))),
    Entry("31 arguments are bound", _many, list(range(MANY - 1))),
    Entry("a tuple is a list", _read("longs", L, (1, 2), 2), [1, 2]),
    Entry("a list of floats is 32-bit", _read("floats", F, [0.5, 2], 2), [0.5, 2]),
    Entry("int32 by position", _read("ints", I, [1, -2, 3], 3, arg_casts={0: "int32"}), [1, -2, 3]),
    # Through `device const`: two bytes that are inlined are misread in `constant` memory (pytorch#188560).
    Entry("one cast for all", _read("halves", H, [1.5], arg_casts="fp16"), [1.5]),
    Entry("an unknown cast", _read("ints", I, 1, arg_casts="int64"), error=RE, message="Unsupported cast instruction"),
    Entry("casts of another type", _read("ints", I, 1, arg_casts=3), error=RE),
    Entry("a 0-dim CPU tensor is its value", _read("floats", F, torch.tensor(0.25, dtype=F, device="cpu")), [0.25]),
    Entry(
        "a 0-dim CPU double is a float",
        _read("floats", F, torch.tensor(0.25, dtype=torch.float64)),
        [0.25],
        since="2.8",
        before=[0.0],  # the first four of its eight bytes
    ),
    Entry("a list of tensors is their addresses", _gathered, [4, 5], since="2.8"),
    Entry("an empty list", _read("longs", L, []), error=RE, message="Empty list/tuple"),
    Entry("None", _read("longs", L, None), error=RE, message="Unsupported argument type"),
    Entry("a string", _read("longs", L, "a"), error=RE, message="Unsupported argument type"),
    Entry("a list of strings", _read("longs", L, ["a"]), error=RE, message="Unexpected argument types"),
    Entry("threads and groups in two dimensions", _places, [301] * 6),
    Entry("a partial group at the edge", _add_one((5,), threads=5, group_size=4), [1] * 5),
    Entry(
        "no threads and no tensor",
        lambda library, make: library.add_one(1),
        error=RE,
        message="Number of threads is undefined or has wrong dimension",
    ),
    Entry("four dimensions", _add_one((5,), threads=(1, 1, 1, 1)), error=RE),
    Entry("ranks that differ", _add_one((5,), threads=5, group_size=(1, 1)), error=RE),
    Entry(
        "too large a group",
        _call("bounded", group_size=65),
        error=ValueError,
        message="Threadgroup size exceeds 64 limit",
    ),
    Entry(
        "three properties",
        lambda library, make: [
            library.bounded.max_threads_per_threadgroup,
            library.bounded.thread_execution_width,
            library.bounded.static_thread_group_memory_length,
        ],
        [64, 32, 256],
    ),
    Entry(
        "a kernel that is not there",
        lambda library, make: library.nothing,
        error=RE,
        message="Failed to create function state object for: nothing",
    ),
    Entry("hasattr raises as well", lambda library, make: hasattr(library, "nothing"), error=RE),
    Entry("dir() lists the kernels", lambda library, make: {"add_one", "bounded"} <= set(dir(library)), True),
    Entry(
        "too much threadgroup memory shows when the kernel is taken",
        lambda library, make: library.hungry,
        error=RE,
        message=r"memory size \(\d+\) exceeds the maximum threadgroup memory allowed",
    ),
    Entry("a call returns nothing", lambda library, make: library.add_one(make(torch.zeros(3))), None),
    Entry("error_buf_idx is taken", _add_one((5,), error_buf_idx=None), [1] * 5, since="2.11"),
]


def release_of(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def at_least(release: str, since: str) -> bool:
    return tuple(map(int, release.split("."))) >= tuple(map(int, since.split(".")))
