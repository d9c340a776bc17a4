"""Launches of the feature kernels: spectrogram, filterbank and logarithm without a spectrum in memory, and their
gradients. For smooth sizes and for any size; arguments must be valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from ..plans.convolution import Transform, transform
from ..plans.fft import istft_plan, stft_plan, supports
from ..plans.frozen import hashed_once
from ..plans.geometry import PAD_MODES, StftGeometry
from ..plans.plan import THREADGROUP_BYTES, Plan, supports_real
from ..tables.filterbank import Bands
from ..tables.twiddles import chirp_tables, pair_twiddles, stage_twiddles
from . import dispatch, feature_passes
from . import transforms as library
from .dispatch import RESIDENT_THREADS, Ready, Recipe, starts_at_pair
from .params import AnyFeatureParams, FeatureGradientParams, FeatureParams, FeatureScale
from .smooth_size import Kind, are_paired, stft_adjoint_params

SCALES = {"linear": 0, "clamp": 1, "add": 2, "log1p": 3}

KERNELS = ("msp_features", "msp_any_features", "msp_features_gradient")
_WAVES = 4  # as in kernels/launch/smooth_size.py
_STEPS_MAX = 4
_BAND_ROOM = 64  # bands' gradients get room in multiples of this: another number of bands is no other kernel


@hashed_once
@dataclass(frozen=True)
class Features:
    """What becomes of the spectrum X of a frame: scale(basis @ ((|X|^power + eps) * gain)), eps under the root of
    power 1.

    width: features per frame; without a basis, the bins that are kept, or zeros behind them. scale: "linear", or
    factor * log(...) + offset of max(v, amin) ("clamp"), v + amin ("add"), 1 + v / amin ("log1p"). dropped: frames at
    the end that are left out.
    """

    width: int
    power: float = 2.0
    eps: float = 0.0
    gain: float = 1.0
    scale: str = "linear"
    amin: float = 1.0
    factor: float = 1.0
    offset: float = 0.0
    dropped: int = 0


def supports_features(n_fft: int, bands: Bands | None, gradient: bool = False) -> bool:
    """Whether there is a kernel; `bands`: the narrow filterbank, or None for a spectrogram."""
    if n_fft < 2 or not supports(n_fft):
        return False
    if gradient and bands is not None and not bands.narrow_over:
        return False
    return _program(n_fft, 0 if bands is None else bands.count, gradient) is not None


def features(
    signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Features, bands: Bands | None
) -> torch.Tensor:
    """[rows, width, frames] float32, frame by frame in memory, of signal [rows, samples] in one launch."""
    signal, window = _prepared(signal), window.contiguous()
    return ready_features(signal, window, geometry, wanted, bands)(signal, window)


def limited_features(
    signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Features, bands: Bands | None,
    rows_per_item: int, below: float, factor: float = 1.0, offset: float = 0.0,
) -> torch.Tensor:  # fmt: skip
    """features() with a floor: `below` under the largest of every `rows_per_item` rows; then times factor plus offset.
    Two launches."""
    signal, window = _prepared(signal), window.contiguous()
    run = ready_features(signal, window, geometry, wanted, bands, rows_per_item, below, factor, offset)
    return run(signal, window)


def ready_features(
    signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Features, bands: Bands | None,
    rows_per_item: int = 1, below: float | None = None, factor: float = 1.0, offset: float = 0.0,
) -> Ready:  # fmt: skip
    """features(), or limited_features() if `below` is given, as a function of signal and window alone: of tensors laid
    out as these, rows and window without gaps."""
    device, pairs = signal.device, _pairs(signal, window, geometry)
    recipe, slots = _recipe(
        geometry, wanted, bands, signal.stride(0), signal.dtype, pairs, below is not None, None, device
    )
    frames = geometry.frames - wanted.dropped
    shape, strides = (geometry.rows, wanted.width, frames), (frames * wanted.width, 1, wanted.width)
    items = geometry.rows // rows_per_item
    finish = None
    if below is not None and frames:
        finish = feature_passes.ready_limit(shape, slots, items, below, factor, offset, device)

    def run(signal: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        output = torch.empty_strided(shape, strides, dtype=torch.float32, device=device)
        if finish is not None:
            maxima = torch.empty((slots,), dtype=torch.float32, device=device)
            recipe(signal, window, output, maxima)
            finish(output, maxima)
        elif frames:
            recipe(signal, window, output)
        return output

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
    signal, window = _prepared(signal), window.contiguous()
    paired = _pairs(signal, window, geometry)
    if _fits_adjoint(geometry.n_fft, None if bands is None else bands.count):
        recipe, has_gaps = _adjoint_recipe(
            geometry, wanted, bands, signal.stride(0), signal.dtype, paired, gradient.stride(), signal.device
        )
        output = torch.empty((geometry.rows, geometry.samples), dtype=torch.float32, device=signal.device)
        if has_gaps:
            output.zero_()
        recipe(window, output, signal, gradient)
        return output
    recipe = _recipe(
        geometry, wanted, bands, signal.stride(0), signal.dtype, paired, False, gradient.stride(), signal.device
    )[0]
    rows, bins, frames = geometry.rows, geometry.bins, geometry.frames
    shape, strides = (rows, bins, frames), (frames * bins, 1, bins)
    spectrum = torch.empty_strided(shape, strides, dtype=torch.complex64, device=signal.device)
    recipe(signal, window, gradient, spectrum)
    return library.stft_adjoint(spectrum, window, geometry)


def kernel_source(
    n_fft: int, banded: bool = True, gradient: bool = False, power: float = 2.0, used: int | None = None
) -> str:
    """The Metal text of a kernel."""
    name, defines, _ = launched(n_fft, int(banded), gradient, power, used=used)
    return dispatch.kernel_text(name, defines)


def kernel(n_fft: int, bands: int, gradient: bool, device: torch.device) -> tuple[Callable[..., None], Plan]:
    """What a call of power 2 launches first, and the plan that it launches it by. bands: 0 for a spectrogram."""
    name, defines, plan = launched(n_fft, bands, gradient)
    return dispatch.kernel(name, defines, device.type), plan


def launched(
    n_fft: int, bands: int, gradient: bool, power: float = 2.0, dtype: torch.dtype = torch.float32,
    used: int | None = None,
) -> tuple[str, str, Plan]:  # fmt: skip
    """(name, defines, plan) of the kernel for a size that supports_features() allows."""
    if gradient and _fits_adjoint(n_fft, bands or None):
        plan = istft_plan(n_fft)
        return "msp_features_gradient", _adjoint_defines(plan, bool(bands), power, dtype), plan
    program = _program(n_fft, bands, gradient, used)
    assert program is not None
    return program.name, program.defines(bool(bands), gradient, power, dtype), program.plan


@dataclass(frozen=True)
class _Program:
    name: str
    plan: Plan
    how: Transform | None  # for any size; None for a smooth one
    slot_pairs: int

    def defines(self, banded: bool, gradient: bool, power: float, dtype: torch.dtype) -> str:
        values = {
            "BLUESTEIN": int(self.how is not None and self.how.bluestein),
            "PACKED": int(self.how is not None and self.how.packed),
            "FOLDED": int(self.how is not None and self.how.folded),
            "MAGNITUDES": int(not gradient),
            "REAL": 1,
            "COMPLEX_WINDOW": 0,
            "COMPLEX_SAMPLES": 0,
            "SAMPLE": dispatch.SAMPLE_TYPES[dtype],
            "WIDE_SAMPLES": int(dtype is torch.float32),
            "BANDED": int(banded),
            "GRADIENT": int(gradient),
            "POWER": int(power) if power in (1.0, 2.0) else 0,
            "SLOT_PAIRS": self.slot_pairs,
        }
        what = self.plan if self.how is None else replace(self.how, plan=self.plan)
        return what.defines() + "".join(f"#define MSP_{name} {value}\n" for name, value in values.items())


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
        needed = -(-bins // 2)
        if gradient:
            needed += -(-bands // _BAND_ROOM) * _BAND_ROOM // 2
    slot_pairs = max(exchange, needed, -(-plan.lanes // 2))
    while 8 * plan.frames * slot_pairs > THREADGROUP_BYTES:
        if plan.frames == 1:
            return None
        plan = replace(plan, frames=plan.frames // 2)
    return _Program("msp_features" if how is None else "msp_any_features", plan, how, slot_pairs)


def _prepared(signal: torch.Tensor) -> torch.Tensor:
    return signal if signal.stride(1) == 1 else signal.contiguous()


def _pairs(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> tuple[bool, bool]:
    """Whether signal and window may be read two values at a time."""
    return starts_at_pair(signal), geometry.win_length == geometry.n_fft and starts_at_pair(window)


@lru_cache(maxsize=1024)
def _recipe(
    geometry: StftGeometry, wanted: Features, bands: Bands | None, row_stride: int, dtype: torch.dtype,
    paired: tuple[bool, bool], wants_maxima: bool, gradient: tuple[int, ...] | None, device: torch.device,
) -> tuple[Recipe, int]:  # fmt: skip
    """(the launch, slots of all threadgroups). gradient: its strides, for the kernel of the gradient. The launch takes
    signal, window, the gradient if there is one, output, and the maxima if they are wanted."""
    used = None  # a gradient is of all bins
    if gradient is None:
        used = wanted.width if bands is None else bands.used
    program = _program(geometry.n_fft, 0 if bands is None else bands.count, gradient is not None, used)
    assert program is not None
    plan, how = program.plan, program.how
    kept = geometry.frames - wanted.dropped
    frames = kept if gradient is None else geometry.frames
    total = geometry.rows * frames
    steps = min(_STEPS_MAX, max(1, total * plan.lanes // (_WAVES * RESIDENT_THREADS[device.type])))
    groups = -(-frames // (plan.frames * steps))
    paired_loads = paired[0] and are_paired(geometry.hop_length, geometry.pad, row_stride, geometry.rows)
    stages = stage_twiddles(plan, device)
    layout, weights, first, shares, rounds, reach = stages, stages, stages, stages, 0, 0
    if bands is not None:
        rounds, layout, weights = bands.forward_tables(plan.lanes, device)
        if gradient is not None:
            first, shares = bands.backward_tables(device)
            reach = bands.reach
    gradient_row, gradient_feature, gradient_frame = gradient or (0, 0, 0)
    values = dict(
        samples=geometry.samples, row_stride=row_stride, frames=frames, hop_length=geometry.hop_length,
        pad=geometry.pad, pad_mode=PAD_MODES[geometry.pad_mode], win_left=geometry.win_left,
        win_length=geometry.win_length, groups=groups, steps=steps, paired_loads=paired_loads,
        paired_window=paired[1], wants_maxima=wants_maxima, gradient_frames=kept, gradient_row=gradient_row,
        gradient_feature=gradient_feature, gradient_frame=gradient_frame, width=wanted.width, rounds=rounds,
        reach=reach, scale=SCALES[wanted.scale],
    )  # fmt: skip
    if how is None:
        params = FeatureParams(**values)
        transforms = [stages, pair_twiddles(plan.n_fft, plan.pair_bins, device)]
    else:
        params = AnyFeatureParams(**values, n_fft=geometry.n_fft, points=how.points, bins=how.bins)
        transforms = [stages, stages, stages, stages]
        if how.packed:
            transforms[1] = pair_twiddles(geometry.n_fft, how.points, device)
        if how.bluestein:
            transforms[2:] = chirp_tables(how, False, device)
    defines = program.defines(bands is not None, gradient is not None, wanted.power, dtype)
    kernel = dispatch.kernel(program.name, defines, device.type)
    given = stages if gradient is None else None  # something with an address, not looked at
    maxima = None if wants_maxima and frames else stages
    args = [
        None,
        None,
        *transforms,
        layout,
        weights,
        first,
        shares,
        given,
        None,
        maxima,
        params,
        _scale(geometry, wanted),
    ]
    slots = geometry.rows * groups * plan.frames
    return dispatch.recipe(kernel, args, geometry.rows * groups, plan.threads, device), slots


@lru_cache(maxsize=1024)
def _fits_adjoint(n_fft: int, bands: int | None) -> bool:
    """Whether the adjoint is one launch; bands: None for a spectrogram."""
    if not supports_real(n_fft):
        return False
    plan = istft_plan(n_fft)
    room = plan.exchange_size * (1 if plan.split else 2)
    return bands is None or (n_fft // 2 + 2) // 2 * 2 + bands <= room


def _adjoint_defines(plan: Plan, banded: bool, power: float, dtype: torch.dtype) -> str:
    values = dict(BANDED=int(banded), POWER=int(power) if power in (1.0, 2.0) else 0)
    more = "".join(f"#define MSP_{name} {value}\n" for name, value in values.items())
    return plan.defines() + Kind("msp_istft", adjoint=True, dtype=dtype).defines() + more


@lru_cache(maxsize=1024)
def _adjoint_recipe(
    geometry: StftGeometry, wanted: Features, bands: Bands | None, row_stride: int, dtype: torch.dtype,
    paired: tuple[bool, bool], gradient: tuple[int, ...], device: torch.device,
) -> tuple[Recipe, bool]:  # fmt: skip
    """The launch, and whether it leaves samples unwritten that lie under no frame."""
    plan = istft_plan(geometry.n_fft)
    params, groups, has_gaps = stft_adjoint_params(plan, geometry, (0, 0, 0), paired[1], device)
    stages, pairs = stage_twiddles(plan, device), pair_twiddles(plan.n_fft, plan.pair_bins, device)
    layout, weights, first, shares, rounds, reach = stages, stages, stages, stages, 0, 0
    if bands is not None:
        rounds, layout, weights = bands.forward_tables(plan.lanes, device)
        first, shares = bands.backward_tables(device)
        reach = bands.reach
    row, feature, frame = gradient
    kept = geometry.frames - wanted.dropped
    paired_loads = paired[0] and are_paired(geometry.hop_length, geometry.pad, row_stride, geometry.rows)
    feature_params = FeatureGradientParams(
        signal_stride=row_stride, gradient_row=row, gradient_feature=feature, gradient_frame=frame,
        gradient_frames=kept, paired_loads=paired_loads, width=wanted.width, rounds=rounds, reach=reach,
        scale=SCALES[wanted.scale],
    )  # fmt: skip
    defines = _adjoint_defines(plan, bands is not None, wanted.power, dtype)
    kernel = dispatch.kernel("msp_features_gradient", defines, device.type)
    # What would be the spectrum and the envelope is not read. The kernel counts the bins between 0 and half twice.
    args = [
        pairs, None, stages, pairs, pairs, None, params, 0.5, None, layout, weights, first, shares, None,
        feature_params, _scale(geometry, wanted),
    ]  # fmt: skip
    return dispatch.recipe(kernel, args, groups, plan.threads, device), has_gaps


def _scale(geometry: StftGeometry, wanted: Features) -> FeatureScale:
    gain = wanted.gain * geometry.scale**wanted.power
    return FeatureScale(
        exponent=wanted.power / 2, eps=wanted.eps, gain=gain, amin=wanted.amin, factor=wanted.factor,
        offset=wanted.offset,
    )  # fmt: skip
