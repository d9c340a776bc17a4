"""Launches of the feature kernels: spectrogram, filterbank and logarithm without a spectrum in memory, and their
gradients. For smooth sizes and for any size; arguments must be valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from ..plans.convolution import Transform, transform
from ..plans.fft import istft_plan, stft_plan, supports
from ..plans.frozen import hashed_once
from ..plans.geometry import PAD_MODES, StftGeometry
from ..plans.plan import THREADGROUP_BYTES, Plan, defines, supports_real
from ..tables.filterbank import ROWS_AT_ONCE, Bands
from ..tables.twiddles import pair_twiddles, stage_twiddles
from . import dispatch, feature_passes
from . import transforms as library
from .any_size import transform_tables
from .dispatch import Ready, Recipe, empty_spectrum, readable, starts_at_pair
from .params import AnyFeatureParams, FeatureGradientParams, FeatureParams, FeatureScale
from .smooth_size import START, Kind, are_paired, has_gaps, inverse_params, is_paired, steps_of

SCALES = {"linear": 0, "clamp": 1, "add": 2, "log1p": 3}

KERNELS = ("msp_features", "msp_any_features", "msp_features_gradient")
MORE_RESIDENT = 1.25  # threads, on CUDA: MSL_RESIDENT_THREADS of features.metal
_BAND_ROOM = 64  # bands' gradients get room in multiples of this: another number of bands is no other kernel


@hashed_once
@dataclass(frozen=True)
class Features:
    """What becomes of the spectrum X of a frame: scale(basis @ ((|X|^power + eps) * gain)), eps under the root of
    power 1. With a floor, |X|^2 is at least that, and eps is 0.

    width: features per frame; without a basis, the bins that are kept, or zeros behind them. scale: "linear", or
    factor * log(...) + offset of max(v, amin) ("clamp"), v + amin ("add"), 1 + v / amin ("log1p"). dropped: frames at
    the end that are left out. contiguous: the result is; else it lies frame by frame in memory.
    """

    width: int
    power: float = 2.0
    eps: float = 0.0
    gain: float = 1.0
    floor: float = 0.0
    scale: str = "linear"
    amin: float = 1.0
    factor: float = 1.0
    offset: float = 0.0
    dropped: int = 0
    contiguous: bool = False


def strides_of(width: int, frames: int, contiguous: bool) -> tuple[int, int, int]:
    """Of features [rows, width, frames]."""
    return width * frames, *((frames, 1) if contiguous else (1, width))


def supports_features(n_fft: int, bands: Bands | None, gradient: bool = False) -> bool:
    """Whether there is a kernel; `bands`: the narrow filterbank, or None for a spectrogram."""
    if n_fft < 2 or not supports(n_fft):
        return False
    if gradient and bands is not None and not bands.narrow_over:
        return False
    return _program(n_fft, _count(bands), gradient) is not None


def features(
    signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Features, bands: Bands | None
) -> torch.Tensor:
    """[rows, width, frames] float32 of signal [rows, samples] in one launch. (All bins, contiguous: and a copy.)"""
    signal, window = readable(signal), window.contiguous()
    return ready_features(signal, window, geometry, wanted, bands)(signal, window)


def limited_features(
    signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Features, bands: Bands | None,
    rows_per_item: int, below: float, factor: float = 1.0, offset: float = 0.0,
) -> torch.Tensor:  # fmt: skip
    """features() with a floor: `below` under the largest of every `rows_per_item` rows; then times factor plus offset.
    Two launches."""
    signal, window = readable(signal), window.contiguous()
    run = ready_features(signal, window, geometry, wanted, bands, rows_per_item, below, factor, offset)
    return run(signal, window)


def ready_features(
    signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Features, bands: Bands | None,
    rows_per_item: int = 1, below: float | None = None, factor: float = 1.0, offset: float = 0.0,
) -> Ready:  # fmt: skip
    """features(), or limited_features() if `below` is given, as a function of signal and window alone: of tensors laid
    out as these, rows and window without gaps."""
    frames, contiguous = geometry.frames - wanted.dropped, wanted.contiguous
    # All bins, written far from each other, would take longer than a copy does. Of one frame, there is one order.
    turned = contiguous and bands is None and frames > 1
    wanted = replace(wanted, contiguous=contiguous and bands is not None)
    if below is not None and wanted.scale != "linear" and factor > 0:  # as the logarithm is written: once
        wanted = replace(wanted, factor=wanted.factor * factor, offset=wanted.offset * factor + offset)
        below, factor, offset = below * factor, 1.0, 0.0
    device, pairs = signal.device, (starts_at_pair(signal), is_paired(window, geometry.n_fft))
    layout = signal.stride(0), signal.dtype, pairs
    recipe, groups, taken = _recipe(geometry, wanted, bands, *layout, below is not None, device)
    shape, strides = (geometry.rows, wanted.width, frames), strides_of(wanted.width, frames, contiguous and not turned)
    items = geometry.rows // rows_per_item
    finish = None
    if below is not None and frames:
        # Zeros behind the bins are not among the extremes.
        are_listed = not wanted.contiguous and (bands is not None or wanted.width <= geometry.n_fft // 2 + 1)
        row, part = frames * wanted.width, taken * wanted.width if are_listed else None
        finish = feature_passes.limit(items, rows_per_item, row, groups // items, part, below, factor, offset, device)

    def run(signal: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        output = torch.empty_strided(shape, strides, dtype=torch.float32, device=device)
        if finish is not None:
            extremes = torch.empty((groups, 2), dtype=torch.float32, device=device)
            recipe(signal, window, output, extremes)
            finish(output, extremes)
        elif frames:
            recipe(signal, window, output)
        return output.contiguous() if turned else output

    return run


def features_gradient(
    gradient: torch.Tensor, signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Features,
    bands: Bands | None,
) -> torch.Tensor:  # fmt: skip
    """[rows, samples]: the gradient of features() with respect to its signal, for `gradient` [rows, width, frames] of
    any strides. The frames' spectra are made again.

    Smooth sizes take one launch, if the powers and bands of a frame fit into the memory of its transform. The others
    take two: the gradients of the spectra go through memory, to the adjoint of stft.
    """
    signal, window = readable(signal), window.contiguous()
    device, strides = signal.device, gradient.stride()
    pairs = starts_at_pair(signal), is_paired(window, geometry.n_fft)
    layout = signal.stride(0), signal.dtype, pairs
    if _fits_adjoint(geometry.n_fft, _count(bands)):
        recipe, leaves_gaps = _adjoint_recipe(geometry, wanted, bands, *layout, strides, device)
        output = torch.empty((geometry.rows, geometry.samples), dtype=torch.float32, device=device)
        if leaves_gaps:
            output.zero_()
        recipe(window, output, signal, gradient)
        return output
    recipe, *_ = _recipe(geometry, wanted, bands, *layout, False, device, strides)
    spectrum = empty_spectrum(geometry.rows, geometry.bins, geometry.frames, device)
    recipe(signal, window, gradient, spectrum)
    return library.stft_adjoint(spectrum, window, geometry)


def kernel_source(
    n_fft: int, banded: bool = True, gradient: bool = False, power: float = 2.0, *, scale: str, used: int | None = None,
    floored: bool = False, contiguous: bool = False,
) -> str:  # fmt: skip
    """The Metal text of a kernel."""
    kind = dict(used=used, floored=floored, contiguous=contiguous, scale=scale)
    name, defines, _ = launched(n_fft, int(banded), gradient, power, **kind)
    return dispatch.kernel_text(name, defines)


def kernel(
    n_fft: int, bands: int, gradient: bool, device: torch.device, scale: str
) -> tuple[Callable[..., None], Plan]:
    """What a call of power 2 launches first, and the plan that it launches it by. bands: 0 for a spectrogram."""
    name, defines, plan = launched(n_fft, bands, gradient, scale=scale)
    return dispatch.kernel(name, defines, device.type), plan


def launched(
    n_fft: int, bands: int, gradient: bool, power: float = 2.0, dtype: torch.dtype = torch.float32, *, scale: str,
    used: int | None = None, floored: bool = False, contiguous: bool = False,
) -> tuple[str, str, Plan]:  # fmt: skip
    """(name, defines, plan) of the kernel for a size that supports_features() allows."""
    if gradient and _fits_adjoint(n_fft, bands):
        plan = istft_plan(n_fft)
        return "msp_features_gradient", _adjoint_defines(plan, bool(bands), power, dtype, floored, scale), plan
    program = _program(n_fft, bands, gradient, used)
    assert program is not None
    defines = program.defines(bool(bands), gradient, power, dtype, floored, contiguous, scale)
    return program.name, defines, program.plan


def _count(bands: Bands | None) -> int:
    return 0 if bands is None else bands.count


@dataclass(frozen=True)
class _Program:
    name: str
    plan: Plan
    how: Transform | None  # for any size; None for a smooth one
    slot_pairs: int

    def defines(
        self, banded: bool, gradient: bool, power: float, dtype: torch.dtype, floored: bool, contiguous: bool,
        scale: str,
    ) -> str:  # fmt: skip
        how = self.how
        what = self.plan if how is None else replace(how, plan=self.plan)
        return what.defines() + defines(
            BLUESTEIN=how is not None and how.bluestein, PACKED=how is not None and how.packed,
            FOLDED=how is not None and how.folded, MAGNITUDES=not gradient, REAL=True, COMPLEX_WINDOW=False,
            COMPLEX_SAMPLES=False, SAMPLE=dispatch.SAMPLE_TYPES[dtype], WIDE_SAMPLES=dtype is torch.float32,
            BANDED=banded, GRADIENT=gradient, POWER=_power_define(power), FLOOR=floored,
            CONTIGUOUS=contiguous, SCALE=SCALES[scale], SLOT_PAIRS=self.slot_pairs,
        )  # fmt: skip


def _power_define(power: float) -> int:
    """MSP_POWER: 0 for a power that is an argument."""
    return int(power) if power in (1.0, 2.0) else 0


@lru_cache(maxsize=1024)
def _program(n_fft: int, bands: int, gradient: bool, used: int | None = None) -> _Program | None:
    """The kernel and its memory, or None where that is not enough. bands: 0 for a spectrogram; used: how many bins,
    from 0 on, are asked for, if not all."""
    how = None if supports_real(n_fft) else transform(n_fft, False, used=used)
    plan = stft_plan(n_fft) if how is None else how.plan
    exchange = -(-plan.exchange_size // 2) if plan.split else plan.exchange_size
    needed = 0
    if bands:
        bins = n_fft // 2 + 1
        if how is not None and how.bluestein:  # a kernel serves many sizes, and has room for the largest
            bins = how.bins_max + 1
        needed = _powers_room(bins) // 2
        if gradient:
            needed += -(-bands // _BAND_ROOM) * _BAND_ROOM // 2
    slot_pairs = max(exchange, needed, plan.lanes)
    while 8 * plan.frames * slot_pairs > THREADGROUP_BYTES:
        if plan.frames == 1:
            return None
        plan = replace(plan, frames=plan.frames // 2)
    return _Program("msp_features" if how is None else "msp_any_features", plan, how, slot_pairs)


@lru_cache(maxsize=1024)
def _recipe(
    geometry: StftGeometry, wanted: Features, bands: Bands | None, row_stride: int, dtype: torch.dtype,
    paired: tuple[bool, bool], wants_extremes: bool, device: torch.device, gradient: tuple[int, ...] | None = None,
) -> tuple[Recipe, int, int]:  # fmt: skip
    """(the launch, its threadgroups, the frames of each). gradient: its strides, for the kernel of the gradient. The
    launch takes signal, window, the gradient if there is one, output, and the extremes if they are wanted."""
    used = None  # a gradient is of all bins
    if gradient is None:
        used = wanted.width if bands is None else bands.used
    program = _program(geometry.n_fft, _count(bands), gradient is not None, used)
    assert program is not None
    plan, how = program.plan, program.how
    frames = geometry.frames - (wanted.dropped if gradient is None else 0)
    start = START if how is None and gradient is None else None
    more = MORE_RESIDENT if device.type == "cuda" and how is None and gradient is None else 1.0
    steps = steps_of(plan, geometry.rows * frames, device, start, more)
    groups = -(-frames // (plan.frames * steps))
    stages = stage_twiddles(plan, device)
    fields, tables = _fields(geometry, wanted, bands, row_stride, paired[0], gradient, plan, device)
    fields |= dict(
        samples=geometry.samples, row_stride=row_stride, frames=frames, hop_length=geometry.hop_length,
        pad=geometry.pad, pad_mode=PAD_MODES[geometry.pad_mode], win_left=geometry.win_left,
        win_length=geometry.win_length, groups=groups, steps=steps, paired_window=paired[1],
        wants_extremes=wants_extremes,
    )  # fmt: skip
    if how is None:
        params = FeatureParams(**fields)
        transforms = [stages, pair_twiddles(plan.n_fft, plan.pair_bins, device)]
    else:
        params = AnyFeatureParams(**fields, n_fft=geometry.n_fft, points=how.points, bins=how.bins)
        transforms = transform_tables(geometry.n_fft, how, False, device)
    is_adjoint = gradient is not None
    contiguous = wanted.contiguous and not is_adjoint
    kind = bands is not None, is_adjoint, wanted.power, dtype, wanted.floor > 0, contiguous, wanted.scale
    kernel = dispatch.kernel(program.name, program.defines(*kind), device.type)
    given = stages if gradient is None else None  # something with an address, not looked at
    extremes = None if wants_extremes and frames else stages
    args = [None, None, *transforms, *tables, given, None, extremes, params, _scale(geometry, wanted)]
    groups *= geometry.rows
    return dispatch.recipe(kernel, args, groups, plan.threads, device), groups, plan.frames * steps


def _fields(
    geometry: StftGeometry, wanted: Features, bands: Bands | None, row_stride: int, paired: bool,
    gradient: tuple[int, ...] | None, plan: Plan, device: torch.device,
) -> tuple[dict[str, Any], list[torch.Tensor]]:  # fmt: skip
    """(what all kernels are told alike about features, the tables of the filterbank)."""
    stages = stage_twiddles(plan, device)
    layout, weights, first, shares, rounds, reach = stages, stages, stages, stages, 0, 0
    if bands is not None:
        rounds, layout, weights = bands.forward_tables(plan.lanes, device)
        if gradient is not None:
            first, shares = bands.backward_tables(device)
            reach = bands.reach
    row, feature, frame = gradient or (0, 0, 0)
    fields = dict(
        gradient_frames=geometry.frames - wanted.dropped, gradient_row=row, gradient_feature=feature,
        gradient_frame=frame, paired_loads=paired and are_paired(geometry, row_stride), width=wanted.width,
        rounds=rounds, reach=reach,
    )  # fmt: skip
    return fields, [layout, weights, first, shares]


@lru_cache(maxsize=1024)
def _fits_adjoint(n_fft: int, bands: int) -> bool:
    """Whether the adjoint is one launch. bands: 0 for a spectrogram."""
    if not supports_real(n_fft):
        return False
    plan = istft_plan(n_fft)
    room = plan.exchange_size * (1 if plan.split else 2)
    return not bands or _powers_room(n_fft // 2 + 1) + bands <= room


def _powers_room(bins: int) -> int:
    """Numbers that the powers of so many bins take for a filterbank: msp_band_room() of features.metal."""
    return -(-bins // (2 * ROWS_AT_ONCE)) * 2 * ROWS_AT_ONCE


def _adjoint_defines(plan: Plan, banded: bool, power: float, dtype: torch.dtype, floored: bool, scale: str) -> str:
    kind = Kind("msp_istft", adjoint=True, dtype=dtype)
    what = defines(BANDED=banded, POWER=_power_define(power), FLOOR=floored, SCALE=SCALES[scale])
    return plan.defines() + kind.defines() + what


@lru_cache(maxsize=1024)
def _adjoint_recipe(
    geometry: StftGeometry, wanted: Features, bands: Bands | None, row_stride: int, dtype: torch.dtype,
    paired: tuple[bool, bool], gradient: tuple[int, ...], device: torch.device,
) -> tuple[Recipe, bool]:  # fmt: skip
    """The launch, and whether it leaves samples unwritten that lie under no frame."""
    plan = istft_plan(geometry.n_fft)
    params = inverse_params(plan, geometry, (0, 0, 0), paired[1], device)
    fields, tables = _fields(geometry, wanted, bands, row_stride, paired[0], gradient, plan, device)
    kernel = dispatch.kernel(
        "msp_features_gradient",
        _adjoint_defines(plan, bands is not None, wanted.power, dtype, wanted.floor > 0, wanted.scale),
        device.type,
    )
    stages, pairs = stage_twiddles(plan, device), pair_twiddles(plan.n_fft, plan.pair_bins, device)
    # What would be the spectrum and the envelope is not read. The kernel counts the bins between 0 and half twice.
    args = [
        pairs, None, stages, pairs, pairs, None, params, 0.5, None, *tables, None,
        FeatureGradientParams(**fields, signal_stride=row_stride), _scale(geometry, wanted),
    ]  # fmt: skip
    groups = geometry.rows * params.groups
    return dispatch.recipe(kernel, args, groups, plan.threads, device), has_gaps(plan, geometry)


def _scale(geometry: StftGeometry, wanted: Features) -> FeatureScale:
    gain = wanted.gain * geometry.scale**wanted.power
    return FeatureScale(
        exponent=wanted.power / 2, eps=wanted.floor or wanted.eps, gain=gain, amin=wanted.amin, factor=wanted.factor,
        offset=wanted.offset,
    )  # fmt: skip
