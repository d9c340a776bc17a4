"""Launches for smooth sizes: real signals, real windows, even n_fft whose half is a product of 2, 3, 5 and 7.

A call is turned into a recipe once (plan, tables, run-time arguments, grid) and only executed afterwards. Arguments
must be valid. ready_stft() and its likes give what kernels/launch/transforms.py says of stft() and its likes as a
function of the two tensors alone: of tensors laid out as these, whose rows have no gaps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch.nn.functional import pad

from ..plans.fft import inverse_plan, istft_plan, stft_plan
from ..plans.geometry import PAD_MODES, Geometry, IstftGeometry, PaddedEnds, StftGeometry, padded_ends, runs_per_row
from ..plans.plan import Plan, defines
from ..tables.envelope import inverse_envelope, squared
from ..tables.twiddles import pair_twiddles, stage_twiddles
from . import dispatch
from .call_fields import forward_fields, inverse_fields
from .dispatch import RESIDENT_THREADS, Ready, Recipe, gapless, readable, starts_at_pair
from .frame_sums import sum_of_frames
from .params import IstftParams, StftParams, WindowGradientParams

KERNELS = ("msp_stft", "msp_istft", "msp_istft_registers", "msp_window_gradient")

# stft gives a threadgroup several frames, so that a lane's constants are loaded once: see steps_of(). istft runs are as
# long as one wave of threadgroups allows, so that fewer frames are transformed twice.
_WAVES, _STEPS_MAX = 4, 4
_STEPS_MAX_BY_TIME = 8
START = 1 / 4  # see steps_of(); by measurements on an H200


@dataclass(frozen=True)
class Kind:
    """Which of a plan's kernels: the function, whether the operator or its adjoint, and what it reads or writes."""

    name: str
    adjoint: bool = False
    two_sided: bool = False
    dtype: torch.dtype = torch.float32  # of the samples that are read

    def defines(self) -> str:
        return defines(
            ADJOINT=self.adjoint, TWO_SIDED=self.two_sided, SAMPLE=dispatch.SAMPLE_TYPES[self.dtype],
            WIDE_SAMPLES=self.dtype is torch.float32,
        )  # fmt: skip


def kernel_source(plan: Plan, kind: Kind | None = None) -> str:
    """The Metal text of a plan's kernel; of the plain stft or istft where no kind is given."""
    kind = kind or Kind("msp_istft" if plan.inverse else "msp_stft")
    return dispatch.kernel_text(kernel_name(plan, kind), plan.defines() + kind.defines())


def kernel(plan: Plan, kind: Kind, device: torch.device) -> Callable[..., None]:
    """The compiled kernel of a plan."""
    return dispatch.kernel(kernel_name(plan, kind), plan.defines() + kind.defines(), device.type)


def kernel_name(plan: Plan, kind: Kind) -> str:
    return "msp_istft_registers" if plan.overlap == "registers" else kind.name


def ready_stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> Ready:
    return _forward(signal, window, geometry)


def ready_istft(spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> Ready:
    return _with_envelope(geometry, _inverse(spectrum, window, geometry))


def ready_stft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> Ready:
    return _inverse(gradient, window, geometry)


def ready_istft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> Ready:
    return _with_envelope(geometry, _forward(gradient, window, geometry))


def _forward(signal: torch.Tensor, window: torch.Tensor, geometry: Geometry) -> Callable[..., torch.Tensor]:
    """From samples to spectra, as a function of signal, window and, of an adjoint, the inverse envelope."""
    device = signal.device
    pairs = starts_at_pair(signal), is_paired(window, geometry.n_fft)
    recipe = _forward_recipe(geometry, signal.stride(0), signal.dtype, *pairs, device)
    rows, bins, frames = size = geometry.rows, geometry.bins, geometry.frames
    strides = frames * bins, 1, bins

    def run(signal: torch.Tensor, window: torch.Tensor, *envelope: torch.Tensor) -> torch.Tensor:
        # Not a transposed view: torch's result is none, and autograd tells them apart.
        spectrum = torch.empty_strided(size, strides, dtype=torch.complex64, device=device)
        recipe(signal, window, *envelope, spectrum)
        return spectrum

    return run


def _inverse(spectrum: torch.Tensor, window: torch.Tensor, geometry: Geometry) -> Callable[..., torch.Tensor]:
    """From spectra to samples, as a function of spectrum, window and, but for an adjoint, the inverse envelope."""
    device = spectrum.device
    recipe, has_gaps = _inverse_recipe(geometry, spectrum.stride(), is_paired(window, geometry.n_fft), device)
    size = geometry.rows, geometry.length

    def run(spectrum: torch.Tensor, window: torch.Tensor, *envelope: torch.Tensor) -> torch.Tensor:
        signal = torch.empty(size, dtype=torch.float32, device=device)
        if has_gaps:
            signal.zero_()
        recipe(spectrum, window, *envelope, signal)
        return signal

    return run


def _with_envelope(geometry: IstftGeometry, run_with: Callable[..., torch.Tensor]) -> Ready:
    """`run_with` with the envelope of whatever window comes; None where that cannot be inverted."""
    question = geometry.of_envelope

    def run(given: torch.Tensor, window: torch.Tensor) -> torch.Tensor | None:
        envelope = squared(window).decide(*question, window.device)  # inverse_envelope(), in fewer calls
        return None if envelope is None else run_with(given, window.contiguous(), envelope.table)

    return run


def stft_window_gradient(gradient: torch.Tensor, signal: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    signal = readable(signal)
    kind = Kind("msp_window_gradient", adjoint=True, two_sided=not geometry.onesided, dtype=signal.dtype)
    scale = geometry.scale / 2  # the kernel counts the bins between 0 and half twice
    return _frame_products(gradient, signal, kind, geometry, scale)[geometry.window_part].clone()


def istft_window_gradient(
    gradient: torch.Tensor, spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry
) -> torch.Tensor | None:
    # y = sum over frames of w v, divided by the sum of w^2: the gradient is the sum over frames of (v - 2 w y) e, where
    # e is the gradient of y divided by the envelope.
    envelope = inverse_envelope(window, *geometry.of_envelope)
    if envelope is None:
        return None
    reached, part = geometry.samples, geometry.window_part
    quotient = gradient[:, :reached] * envelope.expand(geometry.pad, reached, geometry.hop_length)
    output = ready_istft(spectrum, window, replace(geometry, length=reached))(spectrum, window)
    sums = _frame_products(spectrum, quotient, Kind("msp_window_gradient"), geometry, geometry.scale)
    products = pad((output * quotient).sum(0), geometry.margins)
    framed = sum_of_frames(products, geometry.frames, geometry.n_fft, geometry.hop_length)
    return sums[part] - 2 * window * framed[part]


def _frame_products(
    spectrum: torch.Tensor, signal: torch.Tensor, kind: Kind, geometry: Geometry, scale: float
) -> torch.Tensor:
    """[n_fft]: inverse transforms times the samples under each frame, summed over rows and frames."""
    signal = gapless(signal)
    plan, device = istft_plan(geometry.n_fft), spectrum.device
    total = geometry.rows * geometry.frames
    groups = min(-(-total // plan.frames), max(1, RESIDENT_THREADS[device.type] // plan.threads))
    steps = -(-total // (groups * plan.frames))
    groups = -(-total // (steps * plan.frames))
    row_stride, bin_stride, frame_stride = spectrum.stride()
    params = WindowGradientParams(
        row_stride=row_stride, bin_stride=bin_stride, frame_stride=frame_stride, frames=geometry.frames,
        total_frames=total, hop_length=geometry.hop_length, signal_stride=signal.stride(0), samples=signal.shape[1],
        pad=geometry.pad, pad_mode=PAD_MODES[geometry.pad_mode], steps=steps,
    )  # fmt: skip
    args = [None, None, *_twiddles(plan, device), None, params, scale]
    sums = torch.empty((groups * plan.frames, plan.n_fft), dtype=torch.float32, device=device)
    dispatch.recipe(kernel(plan, kind, device), args, groups, plan.threads, device)(spectrum, signal, sums)
    return sums.sum(0)


@lru_cache(maxsize=1024)
def _forward_recipe(
    geometry: Geometry, row_stride: int, dtype: torch.dtype, paired: bool, paired_window: bool, device: torch.device
) -> Recipe:
    adjoint = isinstance(geometry, IstftGeometry)
    kind = Kind("msp_stft", adjoint, not geometry.onesided, dtype)
    plan = stft_plan(geometry.n_fft)
    total = geometry.rows * geometry.frames
    steps = steps_of(plan, total, device, None if adjoint else START)
    params = StftParams(
        **forward_fields(geometry, row_stride), steps=steps, paired_window=paired_window,
        paired_loads=paired and are_paired(geometry, row_stride),
    )  # fmt: skip
    return _recipe(plan, kind, params, geometry.scale, -(-total // (plan.frames * steps)), adjoint, device)


@lru_cache(maxsize=1024)
def _inverse_recipe(
    geometry: Geometry, strides: tuple[int, ...], paired_window: bool, device: torch.device
) -> tuple[Recipe, bool]:
    """The launch, and whether it leaves samples unwritten that lie under no frame."""
    adjoint = isinstance(geometry, StftGeometry)
    kind = Kind("msp_istft", adjoint, adjoint and not geometry.onesided)
    plan = inverse_plan(geometry.n_fft, geometry.hop_length)
    params = inverse_params(plan, geometry, strides, paired_window, device)
    scale = geometry.scale / 2 if adjoint else geometry.scale  # the kernel counts the bins between 0 and half twice
    recipe = _recipe(plan, kind, params, scale, geometry.rows * params.groups, not adjoint, device)
    return recipe, has_gaps(plan, geometry)


def _recipe(
    plan: Plan, kind: Kind, params: StftParams | IstftParams, scale: float, groups: int, has_envelope: bool,
    device: torch.device,
) -> Recipe:  # fmt: skip
    stages, pairs = _twiddles(plan, device)
    envelope = None if has_envelope else pairs  # every argument needs an address
    args = [None, None, stages, pairs, envelope, None, params, scale]
    return dispatch.recipe(kernel(plan, kind, device), args, groups, plan.threads, device)


def inverse_params(
    plan: Plan, geometry: Geometry, strides: tuple[int, ...], paired_window: bool, device: torch.device
) -> IstftParams:
    edges = padded_ends(geometry)
    runs, run_hops, share = _runs(plan, geometry, edges, device)
    # Even positions of every row are at 8-byte boundaries of the output.
    paired_output = geometry.pad % 2 == 0 and (geometry.length % 2 == 0 or geometry.rows == 1)
    return IstftParams(
        **inverse_fields(geometry, strides, edges), groups=runs + edges.edges, run_hops=run_hops,
        share=share, paired_window=paired_window, paired_output=paired_output,
    )  # fmt: skip


def has_gaps(plan: Plan, geometry: Geometry) -> bool:
    """Whether samples that lie under no frame are not written."""
    return geometry.hop_length > geometry.n_fft and plan.overlap in ("ring", "device")


def steps_of(plan: Plan, frames: int, device: torch.device, start: float | None = None, more: float = 1.0) -> int:
    """How many frames each slot takes, of `frames` altogether: as many as leave _WAVES times the threads that are
    resident, which are `more` times those of other kernels. start: what a threadgroup does before its first frame, as
    a part of a frame's time, where that is known: so many that the last threadgroup is done early. (Of a Mac it is only
    guessed how many threads are resident.)"""
    threads, resident = frames * plan.lanes, int(more * RESIDENT_THREADS[device.type])
    if start is None or device.type == "mps":
        return min(_STEPS_MAX, max(1, threads // (_WAVES * resident)))

    def time(steps: int) -> float:
        return -(-threads // (resident * steps)) * (steps + start) + steps / 3  # the last wave ends unevenly

    most = 2 * threads // resident
    return min(range(1, min(max(most, 1), _STEPS_MAX_BY_TIME) + 1), key=time)


def are_paired(geometry: Geometry, row_stride: int) -> bool:
    """Whether every frame starts where two samples may be read at once, if the first row does."""
    is_even = row_stride % 2 == 0 or geometry.rows == 1
    return is_even and geometry.hop_length % 2 == 0 and geometry.pad % 2 == 0


def is_paired(window: torch.Tensor, n_fft: int) -> bool:
    """Whether two values of a window may be read at once."""
    return window.shape[0] == n_fft and starts_at_pair(window)


def _runs(plan: Plan, geometry: Geometry, edges: PaddedEnds, device: torch.device) -> tuple[int, int, int]:
    """(runs per row, hops per run, frames per slot of "registers") that write what is between the edges of a row."""
    begin, end, hop_length, halo = edges.runs_begin, edges.runs_end, geometry.hop_length, geometry.halo
    if begin >= end:
        return 0, 1, 1
    hops = -(-end // hop_length) - begin // hop_length
    groups = max(1, RESIDENT_THREADS[device.type] // plan.threads - geometry.rows * edges.edges)
    run_hops = -(-hops // runs_per_row(geometry.rows, hops, halo, groups))
    run_hops = -(-(run_hops + halo) // plan.frames) * plan.frames - halo
    run_hops = max(run_hops, 1)
    # Slots of "registers" share the frames of a run equally, and each has as many as wait for the slot before it.
    share = max(-(-(run_hops + halo) // plan.frames), halo, 1)
    if plan.overlap == "registers":
        run_hops = share * plan.frames - halo
    return -(-hops // run_hops), run_hops, share


def _twiddles(plan: Plan, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return stage_twiddles(plan, device), pair_twiddles(plan.n_fft, plan.pair_bins, device)
