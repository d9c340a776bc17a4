"""Every kernel by every way through its text, under whatever a real GPU may do: threads in any order, threadgroup
memory and outputs full of NaN, and arguments between pages that may not be touched.

The same call without all that gives the bits that are expected. MPS_SPECTRO_HAZARDS=all crosses every operation with
every way and more seeds; by default the operations that share a kernel share the ways among them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import pytest
import torch

from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import dispatch, transforms
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import IstftGeometry, StftGeometry
from tests.conformance import recording, sources
from tests.tiers import one_of_each

from ..outputs import poisoned_outputs
from . import feature_hazards

pytestmark = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="about the simulator alone"
)
# (seed, guard). The third of them, and the other hop, are for the second tier.
ALL = os.environ.get("MPS_SPECTRO_HAZARDS") == "all"
CONDITIONS = [(0, "start"), (1, "end"), (2, "end")] + ([(seed, "end") for seed in range(3, 9)] if ALL else [])


@cache
def sizes(kernel: str) -> list[int]:
    """The smallest n_fft for every way through a kernel's text."""
    found: dict[tuple, int] = {}
    for which in sources.plans_of(kernel):
        found.setdefault(sources.way(which), which.half if "any" in kernel else which.n_fft)
    return sorted(found.values())


@cache
def hops_in_registers() -> dict[tuple, tuple[int, int]]:
    """(n_fft, hop_length), the smallest for every way through the text that overlaps frames in registers."""
    found: dict[tuple, tuple[int, int]] = {}
    for which in sources.plans_of("msp_istft_registers"):
        if which.overlap == "registers":
            hop_length = which.n_fft // which.radices[-1] * which.shift
            found.setdefault(way_in_registers(which), (which.n_fft, hop_length))
    return found


def way_in_registers(which: fft.Plan) -> tuple:
    """As sources.way(), and whether frames overlap at all and the last hop under a frame is a whole one."""
    return (*sources.way(which), which.reach > 1, which.radices[-1] % which.shift == 0)


class Case:
    """One size, hop and padding, with what the operations need; everything is made once."""

    def __init__(self, n_fft: int, odd_hop: bool, pad_mode: str = "reflect", onesided: bool = True,
                 dtype: torch.dtype = torch.float32, window_dtype: torch.dtype = torch.float32,
                 complex_output: bool = False, hop_length: int | None = None) -> None:  # fmt: skip
        """hop_length: instead of an odd or an even one."""
        rows, samples, pad = 2, 3 * n_fft + 5, n_fft // 2
        hop_length = hop_length or max(1, n_fft // 3 | 1 if odd_hop else n_fft // 4 * 2)
        onesided = onesided and not (dtype.is_complex or window_dtype.is_complex or complex_output)
        self.complex_input, self.complex_output = dtype.is_complex, complex_output
        self.forward = StftGeometry(rows, samples, n_fft, hop_length, n_fft, pad, pad_mode, False, onesided)
        frames = self.forward.frames
        length = n_fft + hop_length * (frames - 1) - 2 * pad
        self.inverse = IstftGeometry(rows, frames, n_fft, hop_length, n_fft, n_fft // 2, False, onesided, False, length)
        self.signal = torch.randn(rows, samples, dtype=dtype if dtype.is_complex else torch.float32).to(dtype)
        self.window = torch.rand(n_fft).add(0.2).to(window_dtype)
        self.spectrum = torch.randn(rows, self.forward.bins, frames, dtype=torch.complex64)
        self.gradient = torch.randn(rows, length, dtype=torch.complex64 if complex_output else torch.float32)

    def to(self, device: torch.device) -> Case:
        for name in ("signal", "window", "spectrum", "gradient"):
            setattr(self, name, getattr(self, name).to(device))
        return self


OPERATIONS: dict[str, Callable[[Case], torch.Tensor]] = {
    "stft": lambda c: transforms.stft(c.signal, c.window, c.forward),
    "istft": lambda c: transforms.istft(c.spectrum, c.window, c.inverse, c.complex_output),
    "stft_adjoint": lambda c: transforms.stft_adjoint(c.spectrum, c.window, c.forward, c.complex_input),
    "istft_adjoint": lambda c: transforms.istft_adjoint(c.gradient, c.window, c.inverse),
    "stft_window_gradient": lambda c: transforms.stft_window_gradient(c.spectrum, c.signal, c.window, c.forward),
    "istft_window_gradient": lambda c: transforms.istft_window_gradient(c.gradient, c.spectrum, c.window, c.inverse),
    **feature_hazards.OPERATIONS,
}
HALF, BFLOAT, COMPLEX = torch.float16, torch.bfloat16, torch.complex64


def cases() -> list[tuple[str, int, dict]]:
    """(operation, n_fft, options)."""
    forward, inverse = sizes("msp_stft"), sizes("msp_istft")
    found = [("stft", n, {}) for n in forward] + [("istft", n, {}) for n in inverse]
    for k, n in enumerate(forward if ALL else forward[::2]):
        found.append(("istft_adjoint", n, {"onesided": k % 2 == 0}))
        found.append(("stft", n, {"onesided": False, "dtype": (HALF, BFLOAT)[k % 2]}))
    modes = ("reflect", "replicate", "circular", "constant")
    for k, n in enumerate(inverse if ALL else inverse[1::2]):
        found.append(("stft_adjoint", n, {"onesided": k % 3 > 0, "pad_mode": modes[k % 4]}))
        found.append((("stft_window_gradient", "istft_window_gradient")[k % 2], n, {}))
    general = sizes("msp_any_stft")
    for k, n in enumerate(general):
        found.append(("stft", n, {"dtype": COMPLEX, "window_dtype": (torch.float32, COMPLEX)[k % 2]}))
        found.append(("istft", n, {"complex_output": True, "window_dtype": (COMPLEX, torch.float32)[k % 2]}))
        found.append(("stft_adjoint", n, {"dtype": (torch.float32, COMPLEX)[k % 2], "window_dtype": COMPLEX}))
    for n in (7, 22, 1054, 1085, 1367):  # Bluestein's, real: in powers of two, in 1152 and 2304 points
        found += [("stft", n, {}), ("istft", n, {}), ("stft_adjoint", n, {"onesided": n > 1000})]
    found += feature_hazards.CASES
    for k, (n, hop_length) in enumerate(hops_in_registers().values()):
        found.append(("istft", n, {"hop_length": hop_length, "onesided": k % 3 > 0}))
        if ALL or k % 2:
            found.append(("stft_adjoint", n, {"hop_length": hop_length, "pad_mode": modes[k // 2 % 4]}))
    if ALL:
        found += [(op, n, {}) for op in OPERATIONS for n in sorted({*forward, *inverse})]
    return found


CASES = cases()


def traits(number: int) -> set[tuple]:
    """What the first tier should have seen of every operation: its options, and each value of what makes up a way."""
    operation, n_fft, options = CASES[number]
    is_complex = any(getattr(value, "is_complex", False) for value in options.values()) or "complex_output" in options
    inverse = operation in ("istft", "stft_adjoint")
    found = {(name, value) for name, value in options.items() if name != "hop_length"}
    if not fft.supports_real(n_fft) or is_complex:
        how = fft.transform(n_fft, is_complex, inverse)
        found |= {("any size", how.bluestein, how.packed), ("points are odd", how.points % 2)}
        way = sources.way(how.plan)
    elif "hop_length" in options:
        way = way_in_registers(fft.inverse_plan(n_fft, options["hop_length"]))
    else:
        way = sources.way((fft.istft_plan if inverse else fft.stft_plan)(n_fft))
    parts = {(part, value, "hop_length" in options) for part, value in enumerate(way)}
    return {(operation, trait) for trait in found | parts}


def under_conditions() -> list:
    """Values for parametrize. What the second tier does with a case includes what the first does."""
    first = {case.values[0] for case in one_of_each(range(len(CASES)), traits) if not case.marks}
    values = []
    for number, (operation, n_fft, _) in enumerate(CASES):
        name = f"{operation}-{n_fft}-{number}"
        if number in first:
            values.append(pytest.param(number, CONDITIONS[:2], 1, id=f"{name}-first"))
        values.append(pytest.param(number, CONDITIONS, 2, id=f"{name}-all", marks=pytest.mark.thorough))
    return values


@pytest.mark.parametrize("number, conditions, odd_hops", under_conditions())
def test_a_kernel_keeps_to_its_arguments_and_needs_no_order_of_threads(number, conditions, odd_hops):
    operation, n_fft, options = CASES[number]
    one_hop = "hop_length" in options or (not ALL and n_fft >= 1000)
    for odd_hop in (number % 2 == 0,) if one_hop else (number % 2 == 0, number % 2 != 0)[:odd_hops]:
        case = Case(n_fft, odd_hop, **options)
        run = OPERATIONS[operation]
        with poisoned_outputs():
            expected = run(case)
        assert not torch.view_as_real(expected + 0j).isnan().any(), "an element was not written"
        for seed, guard in conditions:
            with simulator.test_mode(seed=seed, guard=guard), poisoned_outputs():
                assert torch.equal(run(case), expected), f"another result with seed {seed}, guard at the {guard}"


def test_no_way_through_the_overlap_in_registers_is_left_out():
    run: dict[str, set[tuple]] = {"istft": set(), "stft_adjoint": set()}
    for operation, n_fft, options in CASES:
        if "hop_length" in options:
            which = fft.inverse_plan(n_fft, options["hop_length"])
            run[operation].add(way_in_registers(which))
    every = set(hops_in_registers())
    assert run["istft"] == every and len(every) >= 12
    # Of the adjoint, which is other text, some: with frames that wait and without, in one simdgroup and in several.
    assert len(run["stft_adjoint"]) >= len(every) // 2
    for position in (0, 4, -2, -1):
        assert {way[position] for way in run["stft_adjoint"]} == {way[position] for way in every}


def test_no_kernel_of_the_package_is_left_out(monkeypatch):
    launched = set()
    original = dispatch.recipe

    def recipe(kernel, *args):
        launched.add(kernel._name)
        return original(kernel, *args)

    monkeypatch.setattr(dispatch, "recipe", recipe)
    recording.forget()
    for operation in {operation for operation, _, _ in CASES}:
        for n_fft in (16, 7):
            OPERATIONS[operation](Case(n_fft, True, pad_mode="constant"))
    n_fft, hop_length = next(iter(hops_in_registers().values()))
    OPERATIONS["istft"](Case(n_fft, False, hop_length=hop_length))
    assert launched == {source.kernel for source in sources.everything()}
