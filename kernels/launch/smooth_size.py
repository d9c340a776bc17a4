"""Launches for smooth sizes: real signals, real windows, even n_fft whose half is a product of 2, 3, 5 and 7.

A call is turned into a recipe once (plan, tables, run-time arguments, grid) and only executed afterwards. Arguments
must be valid. Signatures as in kernels/launch/transforms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch.nn.functional import pad

from ..plans.fft import inverse_plan, istft_plan, stft_plan
from ..plans.geometry import PAD_MODES, IstftGeometry, StftGeometry, padded_ends, runs_per_row
from ..plans.plan import Plan
from ..tables.envelope import Envelope, ends, inverse_envelope
from ..tables.twiddles import pair_twiddles, stage_twiddles
from . import dispatch
from .dispatch import RESIDENT_THREADS, Ready, Recipe, starts_at_pair
from .params import IstftParams, StftParams, WindowGradientParams

KERNELS = ("msp_stft", "msp_istft", "msp_istft_registers", "msp_window_gradient")

# stft gives a threadgroup several frames, so that a lane's constants are loaded once, while that leaves _WAVES times as
# many threads as are resident; istft runs are as long as one wave of threadgroups allows, so that fewer frames are
# transformed twice.
_WAVES = 4
_STEPS_MAX = 4
_FAR = 2**31 - 1  # a position behind every other


@dataclass(frozen=True)
class Kind:
    """Which of a plan's kernels: the function, whether the operator or its adjoint, and what it reads or writes."""

    name: str
    adjoint: bool = False
    two_sided: bool = False
    dtype: torch.dtype = torch.float32  # of the samples that are read

    def defines(self) -> str:
        values = {
            "ADJOINT": int(self.adjoint),
            "TWO_SIDED": int(self.two_sided),
            "SAMPLE": dispatch.SAMPLE_TYPES[self.dtype],
            "WIDE_SAMPLES": int(self.dtype is torch.float32),
        }
        return "".join(f"#define MSP_{name} {value}\n" for name, value in values.items())


def kernel_source(plan: Plan, kind: Kind | None = None) -> str:
    """The Metal text of a plan's kernel; of the plain stft or istft where no kind is given."""
    kind = kind or Kind("msp_istft" if plan.inverse else "msp_stft")
    return dispatch.kernel_text(_name(plan, kind), plan.defines() + kind.defines())


def stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    if signal.stride(1) != 1:
        signal = signal.contiguous()
    window = window.contiguous()
    return ready_stft(signal, window, geometry)(signal, window)


def istft(spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> torch.Tensor | None:
    envelope = _envelope(window, geometry)  # which knows this very window again
    if envelope is None:
        return None
    window = window.contiguous()
    return _istft_with_envelope(spectrum, window, geometry)(spectrum, window, envelope)


def ready_stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> Ready:
    """stft() as a function of signal and window alone: of tensors laid out as these, rows and window without gaps."""
    device = signal.device
    paired_window = geometry.win_length == geometry.n_fft and starts_at_pair(window)
    recipe = _stft_recipe(geometry, signal.stride(0), signal.dtype, starts_at_pair(signal), paired_window, device)
    size = geometry.rows, geometry.bins, geometry.frames

    def run(signal: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        # Not a transposed view: torch's result is none, and autograd tells them apart.
        spectrum = _empty_spectrum(*size, device)
        recipe(signal, window, spectrum)
        return spectrum

    return run


def ready_istft(spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> Ready:
    """istft() likewise; its result is None where a window cannot be inverted."""
    return _with_envelope(geometry, _istft_with_envelope(spectrum, window, geometry))


def _istft_with_envelope(
    spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry
) -> Callable[[torch.Tensor, torch.Tensor, Envelope], torch.Tensor]:
    device = spectrum.device
    paired_window = geometry.win_length == geometry.n_fft and starts_at_pair(window)
    recipe = _istft_recipe(geometry, spectrum.stride(), paired_window, device)
    size = geometry.rows, geometry.length

    def run(spectrum: torch.Tensor, window: torch.Tensor, envelope: Envelope) -> torch.Tensor:
        signal = torch.empty(size, dtype=torch.float32, device=device)
        recipe(spectrum, window, envelope.table, signal)
        return signal

    return run


def stft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    window = window.contiguous()
    return ready_stft_adjoint(gradient, window, geometry)(gradient, window)


def ready_stft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> Ready:
    """stft_adjoint() as a function of gradient and window alone: of tensors laid out as these."""
    device = gradient.device
    paired_window = geometry.win_length == geometry.n_fft and starts_at_pair(window)
    recipe, has_gaps = _stft_adjoint_recipe(geometry, gradient.stride(), paired_window, device)
    size = geometry.rows, geometry.samples

    def run(gradient: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        signal = torch.empty(size, dtype=torch.float32, device=device)
        if has_gaps:
            signal.zero_()
        recipe(gradient, window, signal)
        return signal

    return run


def istft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> torch.Tensor | None:
    envelope = _envelope(window, geometry)
    if envelope is None:
        return None
    if gradient.stride(1) != 1:
        gradient = gradient.contiguous()
    window = window.contiguous()
    return _istft_adjoint_with_envelope(gradient, window, geometry)(gradient, window, envelope)


def ready_istft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> Ready:
    """istft_adjoint() likewise, rows without gaps; its result is None where a window cannot be inverted."""
    return _with_envelope(geometry, _istft_adjoint_with_envelope(gradient, window, geometry))


def _istft_adjoint_with_envelope(
    gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry
) -> Callable[[torch.Tensor, torch.Tensor, Envelope], torch.Tensor]:
    device = gradient.device
    paired_window = geometry.win_length == geometry.n_fft and starts_at_pair(window)
    recipe = _istft_adjoint_recipe(geometry, gradient.stride(0), starts_at_pair(gradient), paired_window, device)
    size = geometry.rows, geometry.bins, geometry.frames

    def run(gradient: torch.Tensor, window: torch.Tensor, envelope: Envelope) -> torch.Tensor:
        spectrum = _empty_spectrum(*size, device)
        recipe(gradient, window, envelope.table, spectrum)
        return spectrum

    return run


def _with_envelope(
    geometry: IstftGeometry, run_with: Callable[[torch.Tensor, torch.Tensor, Envelope], torch.Tensor]
) -> Ready:
    """`run_with` with the envelope of whatever window comes."""
    question = _question(geometry)

    def run(given: torch.Tensor, window: torch.Tensor) -> torch.Tensor | None:
        envelope = inverse_envelope(window, *question)
        return None if envelope is None else run_with(given, window, envelope)

    return run


def stft_window_gradient(gradient: torch.Tensor, signal: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    scale = geometry.scale / 2  # the kernel counts the bins between 0 and half twice
    kind = Kind("msp_window_gradient", adjoint=True, two_sided=not geometry.onesided, dtype=signal.dtype)
    sums = _frame_products(
        gradient, signal, kind, geometry.n_fft, geometry.hop_length, geometry.pad, geometry.pad_mode, scale
    )
    return sums[:, geometry.win_left : geometry.win_left + geometry.win_length].sum(0)


def istft_window_gradient(
    gradient: torch.Tensor, spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry
) -> torch.Tensor | None:
    # y = sum over frames of w v, divided by the sum of w^2: the gradient is the sum over frames of (v - 2 w y) e, where
    # e is the gradient of y divided by the envelope.
    envelope = _envelope(window, geometry)
    if envelope is None:
        return None
    reached = geometry.reached
    quotient = gradient[:, :reached] * envelope.expand(geometry.first, reached, geometry.hop_length)
    output = istft(spectrum, window, replace(geometry, length=reached))
    kind = Kind("msp_window_gradient")
    n_fft, hop_length = geometry.n_fft, geometry.hop_length
    sums = _frame_products(spectrum, quotient, kind, n_fft, hop_length, geometry.first, "constant", geometry.scale)
    products = (output * quotient).sum(0)
    products = pad(products, (geometry.first, geometry.untrimmed - geometry.first - reached))
    framed = products.as_strided((geometry.frames, n_fft), (hop_length, 1)).sum(0)
    part = slice(geometry.win_left, geometry.win_left + geometry.win_length)
    return sums[:, part].sum(0) - 2 * window * framed[part]


def _frame_products(
    spectrum: torch.Tensor, signal: torch.Tensor, kind: Kind, n_fft: int, hop_length: int, pad: int, pad_mode: str,
    scale: float,
) -> torch.Tensor:  # fmt: skip
    """[parts, n_fft]: inverse transforms times the samples under each frame, summed over rows and frames in parts."""
    if signal.stride(1) != 1:
        signal = signal.contiguous()
    plan = istft_plan(n_fft)
    rows, _, frames = spectrum.shape
    device = spectrum.device
    total = rows * frames
    groups = min(-(-total // plan.frames), max(1, RESIDENT_THREADS[device.type] // plan.threads))
    steps = -(-total // (groups * plan.frames))
    groups = -(-total // (steps * plan.frames))
    row_stride, bin_stride, frame_stride = spectrum.stride()
    params = WindowGradientParams(
        row_stride=row_stride, bin_stride=bin_stride, frame_stride=frame_stride, frames=frames, total_frames=total,
        hop_length=hop_length, signal_stride=signal.stride(0), samples=signal.shape[1], pad=pad,
        pad_mode=PAD_MODES[pad_mode], steps=steps,
    )  # fmt: skip
    args = [None, None, stage_twiddles(plan, device), _pair_twiddles(plan, device), None, params, scale]
    sums = torch.empty((groups * plan.frames, n_fft), dtype=torch.float32, device=device)
    dispatch.recipe(kernel(plan, kind, device), args, groups, plan.threads, device)(spectrum, signal, sums)
    return sums


@lru_cache(maxsize=1024)
def _stft_recipe(
    geometry: StftGeometry, row_stride: int, dtype: torch.dtype, paired: bool, paired_window: bool,
    device: torch.device,
) -> Recipe:  # fmt: skip
    kind = Kind("msp_stft", two_sided=not geometry.onesided, dtype=dtype)
    plan = stft_plan(geometry.n_fft)
    total = geometry.rows * geometry.frames
    params = StftParams(
        samples=geometry.samples, row_stride=row_stride, frames=geometry.frames, total_frames=total,
        hop_length=geometry.hop_length, pad=geometry.pad, pad_mode=PAD_MODES[geometry.pad_mode],
        win_left=geometry.win_left, win_length=geometry.win_length, steps=_steps(plan, total, device),
        paired_loads=paired and are_paired(geometry.hop_length, geometry.pad, row_stride, geometry.rows),
        paired_window=paired_window,
    )  # fmt: skip
    unused = _pair_twiddles(plan, device)  # every argument needs an address
    return _forward_recipe(plan, kind, params, geometry.scale, device, unused)


@lru_cache(maxsize=1024)
def _istft_adjoint_recipe(
    geometry: IstftGeometry, row_stride: int, paired: bool, paired_window: bool, device: torch.device
) -> Recipe:
    kind = Kind("msp_stft", adjoint=True, two_sided=not geometry.onesided)
    plan = stft_plan(geometry.n_fft)
    total = geometry.rows * geometry.frames
    head, tail = _ends(geometry)
    params = StftParams(
        samples=geometry.reached, row_stride=row_stride, frames=geometry.frames, total_frames=total,
        hop_length=geometry.hop_length, pad=geometry.first, pad_mode=PAD_MODES["constant"],
        win_left=geometry.win_left, win_length=geometry.win_length, steps=_steps(plan, total, device),
        paired_loads=paired and are_paired(geometry.hop_length, geometry.first, row_stride, geometry.rows),
        paired_window=paired_window, envelope_head=head, envelope_tail=tail, envelope_end=geometry.untrimmed,
    )  # fmt: skip
    return _forward_recipe(plan, kind, params, geometry.scale, device, None)


def _steps(plan: Plan, frames: int, device: torch.device) -> int:
    """How many frames each slot takes, of `frames` altogether."""
    return min(_STEPS_MAX, max(1, frames * plan.lanes // (_WAVES * RESIDENT_THREADS[device.type])))


def are_paired(hop_length: int, pad: int, row_stride: int, rows: int) -> bool:
    """Whether every frame starts where two samples may be read at once, if the first row does."""
    return hop_length % 2 == 0 and pad % 2 == 0 and (row_stride % 2 == 0 or rows == 1)


def _forward_recipe(
    plan: Plan, kind: Kind, params: StftParams, scale: float, device: torch.device, envelope: torch.Tensor | None
) -> Recipe:
    groups = -(-params.total_frames // (plan.frames * params.steps))
    args = [
        None, None, stage_twiddles(plan, device), _pair_twiddles(plan, device), envelope, None, params, scale,
    ]  # fmt: skip
    return dispatch.recipe(kernel(plan, kind, device), args, groups, plan.threads, device)


@lru_cache(maxsize=1024)
def _istft_recipe(
    geometry: IstftGeometry, strides: tuple[int, ...], paired_window: bool, device: torch.device
) -> Recipe:
    plan = inverse_plan(geometry.n_fft, geometry.hop_length)
    begin, end = geometry.first, geometry.first + geometry.length
    runs, run_hops, share = _runs(plan, geometry.rows, geometry.hop_length, begin, end, device)
    row_stride, bin_stride, frame_stride = strides
    head, tail = _ends(geometry)
    params = IstftParams(
        row_stride=row_stride, bin_stride=bin_stride, frame_stride=frame_stride, frames=geometry.frames,
        hop_length=geometry.hop_length, win_left=geometry.win_left, win_length=geometry.win_length,
        first=geometry.first, length=geometry.length, groups=runs, run_hops=run_hops,
        halo=_halo(plan.n_fft, geometry.hop_length), runs_begin=begin, runs_end=end, paired_window=paired_window,
        envelope_head=head, envelope_tail=tail, envelope_end=geometry.untrimmed, pad_mode=0, edges=0, share=share,
        paired_output=_paired_output(geometry.rows, geometry.length, geometry.first),
    )  # fmt: skip
    args = [
        None, None, stage_twiddles(plan, device), _pair_twiddles(plan, device), None, None, params, geometry.scale,
    ]  # fmt: skip
    compiled = kernel(plan, Kind("msp_istft"), device)
    return dispatch.recipe(compiled, args, geometry.rows * runs, plan.threads, device)


@lru_cache(maxsize=1024)
def _stft_adjoint_recipe(
    geometry: StftGeometry, strides: tuple[int, ...], paired_window: bool, device: torch.device
) -> tuple[Recipe, bool]:
    """The launch, and whether it leaves samples unwritten that lie under no frame."""
    plan = inverse_plan(geometry.n_fft, geometry.hop_length)
    params, groups, has_gaps = stft_adjoint_params(plan, geometry, strides, paired_window, device)
    pairs = _pair_twiddles(plan, device)
    # The kernel counts the bins between 0 and half twice.
    args = [None, None, stage_twiddles(plan, device), pairs, pairs, None, params, geometry.scale / 2]
    kind = Kind("msp_istft", adjoint=True, two_sided=not geometry.onesided)
    return dispatch.recipe(kernel(plan, kind, device), args, groups, plan.threads, device), has_gaps


def stft_adjoint_params(
    plan: Plan, geometry: StftGeometry, strides: tuple[int, ...], paired_window: bool, device: torch.device
) -> tuple[IstftParams, int, bool]:
    """(the kernel's parameters, threadgroups, and whether samples that lie under no frame stay unwritten)."""
    n_fft, hop_length, frames = geometry.n_fft, geometry.hop_length, geometry.frames
    ends = padded_ends(geometry.pad, geometry.samples, geometry.pad_mode, n_fft, hop_length, frames)
    begin, end = ends.runs_begin, ends.runs_end
    runs, run_hops, share = 0, 1, 1
    if begin < end:
        runs, run_hops, share = _runs(plan, geometry.rows, hop_length, begin, end, device)
    row_stride, bin_stride, frame_stride = strides
    params = IstftParams(
        row_stride=row_stride, bin_stride=bin_stride, frame_stride=frame_stride, frames=frames, hop_length=hop_length,
        win_left=geometry.win_left, win_length=geometry.win_length, first=geometry.pad, length=geometry.samples,
        groups=runs + ends.edges, run_hops=run_hops, halo=_halo(n_fft, hop_length), runs_begin=begin, runs_end=end,
        paired_window=paired_window, envelope_head=0, envelope_tail=_FAR, envelope_end=_FAR,
        pad_mode=PAD_MODES[geometry.pad_mode], edges=ends.edges, share=share,
        paired_output=_paired_output(geometry.rows, geometry.samples, geometry.pad),
    )  # fmt: skip
    has_gaps = hop_length > n_fft and plan.overlap in ("ring", "device")
    return params, geometry.rows * params.groups, has_gaps


def _runs(plan: Plan, rows: int, hop_length: int, begin: int, end: int, device: torch.device) -> tuple[int, int, int]:
    """(runs per row, hops per run, frames per slot of "registers") that write the positions [begin, end) of a row."""
    hops = -(-end // hop_length) - begin // hop_length
    halo = _halo(plan.n_fft, hop_length)
    groups = max(1, RESIDENT_THREADS[device.type] // plan.threads)
    run_hops = -(-hops // runs_per_row(rows, hops, halo, groups))
    run_hops = -(-(run_hops + halo) // plan.frames) * plan.frames - halo
    run_hops = max(run_hops, 1)
    # Slots of "registers" share the frames of a run equally, and each has as many as wait for the slot before it.
    share = max(-(-(run_hops + halo) // plan.frames), halo, 1)
    if plan.overlap == "registers":
        run_hops = share * plan.frames - halo
    return -(-hops // run_hops), run_hops, share


def _halo(n_fft: int, hop_length: int) -> int:
    """Frames that start before a sample's own hop and still reach it."""
    return -(-n_fft // hop_length) - 1


def _envelope(window: torch.Tensor, geometry: IstftGeometry) -> Envelope | None:
    return inverse_envelope(window, *_question(geometry))


def _question(geometry: IstftGeometry) -> tuple[int, int, int, int, int]:
    """What inverse_envelope() is asked about a window."""
    return geometry.n_fft, geometry.hop_length, geometry.frames, geometry.first, geometry.reached


def _ends(geometry: IstftGeometry) -> tuple[int, int]:
    return ends(geometry.n_fft, geometry.hop_length, geometry.frames)


def _paired_output(rows: int, length: int, first: int) -> bool:
    """Whether even positions of every row are at 8-byte boundaries of the output."""
    return first % 2 == 0 and (length % 2 == 0 or rows == 1)


def _name(plan: Plan, kind: Kind) -> str:
    return "msp_istft_registers" if plan.overlap == "registers" else kind.name


def kernel(plan: Plan, kind: Kind, device: torch.device) -> Callable[..., None]:
    """The compiled kernel of a plan."""
    return dispatch.kernel(_name(plan, kind), plan.defines() + kind.defines(), device.type)


def _pair_twiddles(plan: Plan, device: torch.device) -> torch.Tensor:
    return pair_twiddles(plan.n_fft, plan.pair_bins, device)


def _empty_spectrum(rows: int, bins: int, frames: int, device: torch.device) -> torch.Tensor:
    shape, strides = (rows, bins, frames), (frames * bins, 1, bins)
    return torch.empty_strided(shape, strides, dtype=torch.complex64, device=device)
