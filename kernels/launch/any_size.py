"""Launches for any size: all n_fft to 4096, and signals, windows or outputs that are complex.

Sizes that are products of 2, 3, 5 and 7 have kernels of their own. All others share a few kernels per power of two, by
Bluestein's algorithm. Signatures as in kernels/launch/transforms.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from ..plans.convolution import Transform, transform
from ..plans.geometry import PAD_MODES, IstftGeometry, StftGeometry, padded_ends, runs_per_row
from ..tables.complex_envelope import complex_inverse_envelope
from ..tables.envelope import Envelope, inverse_envelope
from ..tables.twiddles import chirp_tables, pair_twiddles, stage_twiddles
from . import dispatch
from .dispatch import RESIDENT_THREADS, Recipe
from .params import AnyIstftParams, AnyStftParams

KERNELS = ("msp_any_stft", "msp_any_istft")


@dataclass(frozen=True)
class Kind:
    """Which of a transform's kernels: the function, and the types it reads and writes."""

    name: str
    bluestein: bool
    packed: bool
    complex_window: bool
    sample: torch.dtype = torch.float32
    complex_output: bool = False

    @property
    def inverse(self) -> bool:
        return self.name == "msp_any_istft"

    @property
    def is_real(self) -> bool:
        return not (self.complex_window or self.complex_output or self.sample.is_complex)

    def defines(self) -> str:
        values = {
            "BLUESTEIN": int(self.bluestein),
            "PACKED": int(self.packed),
            "FOLDED": 0,
            "MAGNITUDES": 0,
            "REAL": int(self.is_real),
            "INVERSE": int(self.inverse),
            "COMPLEX_WINDOW": int(self.complex_window),
            "SAMPLE": dispatch.SAMPLE_TYPES[self.sample],
            "COMPLEX_SAMPLES": int(self.sample is torch.complex64),
            "COMPLEX_OUTPUT": int(self.complex_output),
        }
        return "".join(f"#define MSP_{name} {value}\n" for name, value in values.items())


def kernel_source(n_fft: int, complex_valued: bool, kind: Kind) -> str:
    """The Metal text of a kernel."""
    how = transform(n_fft, complex_valued, kind.inverse)
    return dispatch.kernel_text(kind.name, how.defines() + kind.defines())


def stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    is_real = not signal.is_complex() and not window.is_complex()
    recipe = _forward_recipe(
        _forward_geometry(geometry), signal.stride(), signal.dtype, window.is_complex(), is_real, False, signal.device
    )  # fmt: skip
    return _forward(recipe, signal, window, None, geometry)


def istft(
    spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry, complex_output: bool = False
) -> torch.Tensor | None:
    found = _inverse_envelope(window, geometry)
    if found is None:
        return None
    table, head, tail = found
    recipe = _inverse_recipe(
        _Inverse(
            geometry.rows, geometry.frames, geometry.n_fft, geometry.hop_length, geometry.win_length, geometry.first,
            geometry.length, geometry.scale, 1.0, geometry.n_fft if complex_output else geometry.n_fft // 2 + 1,
            not complex_output, False, head, tail,
        ),
        spectrum.stride(), window.is_complex(), complex_output, complex_output, spectrum.device,
    )  # fmt: skip
    dtype = torch.complex64 if complex_output else torch.float32
    signal = torch.empty((geometry.rows, geometry.length), dtype=dtype, device=spectrum.device)
    recipe(spectrum, window.contiguous(), table, signal)
    return signal


def stft_adjoint(
    gradient: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, complex_input: bool = False
) -> torch.Tensor:
    complex_valued = complex_input or window.is_complex()
    recipe = _inverse_recipe(
        _Inverse(
            geometry.rows, geometry.frames, geometry.n_fft, geometry.hop_length, geometry.win_length, geometry.pad,
            geometry.samples, geometry.scale, 0.5, geometry.bins, not complex_valued, not geometry.onesided, 0, 0,
            geometry.pad_mode,
        ),
        gradient.stride(), window.is_complex(), complex_input, complex_valued, gradient.device,
    )  # fmt: skip
    dtype = torch.complex64 if complex_input else torch.float32
    signal = torch.empty((geometry.rows, geometry.samples), dtype=dtype, device=gradient.device)
    if geometry.hop_length > geometry.n_fft:
        signal.zero_()  # no frame writes what lies between frames
    window = window.contiguous()
    recipe(gradient, window, window, signal)
    return signal


def istft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> torch.Tensor | None:
    found = _inverse_envelope(window, geometry)
    if found is None:
        return None
    table, head, tail = found
    complex_output = gradient.is_complex()
    forward = _Forward(
        geometry.rows, geometry.reached, geometry.frames, geometry.n_fft, geometry.hop_length, geometry.win_length,
        geometry.first, "constant", geometry.scale, geometry.bins, head, tail,
    )  # fmt: skip
    recipe = _forward_recipe(
        forward, gradient.stride(), gradient.dtype, window.is_complex(), not complex_output, True, gradient.device
    )
    return _forward(recipe, gradient, window, table, geometry)


def stft_window_gradient(
    gradient: torch.Tensor, signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry
) -> torch.Tensor:
    # The sum over rows and frames of the frame's samples times the inverse transform of its gradient.
    complex_valued = signal.is_complex() or window.is_complex()
    inverse = stft_adjoint(
        gradient, _ones(geometry.n_fft, gradient.device), _apart(geometry), complex_input=complex_valued
    )
    if geometry.pad:
        signal = torch.nn.functional.pad(signal[None], (geometry.pad, geometry.pad), geometry.pad_mode)[0]
    framed = signal.unfold(1, geometry.n_fft, geometry.hop_length).conj_physical()
    products = (framed * inverse.view(geometry.rows, geometry.frames, geometry.n_fft)).sum((0, 1))
    products = products[geometry.win_left :][: geometry.win_length].clone()
    return products if window.is_complex() or not products.is_complex() else products.real.contiguous()


def istft_window_gradient(
    gradient: torch.Tensor, spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry
) -> torch.Tensor | None:
    # As in smooth_size.istft_window_gradient, with the complex conjugates that the derivative of w and w^2 brings.
    found = _inverse_envelope(window, geometry)
    if found is None:
        return None
    n_fft, hop_length, frames, reached = geometry.n_fft, geometry.hop_length, geometry.frames, geometry.reached
    complex_output = gradient.is_complex()
    if window.is_complex():
        inverse = found[0][geometry.first : geometry.first + reached].conj_physical()
    else:
        inverse = Envelope(*found).expand(geometry.first, reached, hop_length)
    quotient = gradient[:, :reached] * inverse
    output = istft(spectrum, window, replace(geometry, length=reached), complex_output)
    apart = replace(geometry, hop_length=n_fft, win_length=n_fft, center=False, length=frames * n_fft)
    framewise = istft(spectrum, _ones(n_fft, spectrum.device), apart, complex_output)
    assert output is not None and framewise is not None
    margins = geometry.first, geometry.untrimmed - geometry.first - reached
    part = slice(geometry.win_left, geometry.win_left + geometry.win_length)

    def framed(samples: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(samples, margins).unfold(1, n_fft, hop_length)

    # Conjugates are written out: in compiled code torch does not heed the bit that stands for one.
    products = (framewise.view(-1, frames, n_fft).conj_physical() * framed(quotient)).sum((0, 1))[part]
    whole = framed((output.conj_physical() * quotient).sum(0, keepdim=True)).sum((0, 1))[part]
    products = products - 2 * window.conj_physical() * whole
    return products if window.is_complex() or not products.is_complex() else products.real.contiguous()


def _apart(geometry: StftGeometry) -> StftGeometry:
    """The same frames side by side: their inverse transforms, not added up."""
    return replace(
        geometry, samples=geometry.frames * geometry.n_fft, hop_length=geometry.n_fft, win_length=geometry.n_fft, pad=0
    )


def _ones(n_fft: int, device: torch.device) -> torch.Tensor:
    return torch.ones(n_fft, dtype=torch.float32, device=device)


@dataclass(frozen=True)
class _Forward:
    rows: int
    samples: int
    frames: int
    n_fft: int
    hop_length: int
    win_length: int
    pad: int
    pad_mode: str
    scale: float
    bins: int  # stored
    head: int = 0  # of the envelope, in an adjoint
    tail: int = 0

    @property
    def end(self) -> int:
        """The position that no frame reaches any more."""
        return self.n_fft + self.hop_length * (self.frames - 1)


def _forward_geometry(geometry: StftGeometry) -> _Forward:
    return _Forward(
        geometry.rows, geometry.samples, geometry.frames, geometry.n_fft, geometry.hop_length, geometry.win_length,
        geometry.pad, geometry.pad_mode, geometry.scale, geometry.bins,
    )  # fmt: skip


def _forward(
    recipe: Recipe, signal: torch.Tensor, window: torch.Tensor, envelope: torch.Tensor | None,
    geometry: StftGeometry | IstftGeometry,
) -> torch.Tensor:  # fmt: skip
    if signal.stride(1) != 1:
        signal = signal.contiguous()
    rows, bins, frames = geometry.rows, geometry.bins, geometry.frames
    shape, strides = (rows, bins, frames), (frames * bins, 1, bins)
    spectrum = torch.empty_strided(shape, strides, dtype=torch.complex64, device=signal.device)
    window = window.contiguous()
    recipe(signal, window, window if envelope is None else envelope, spectrum)
    return spectrum


@lru_cache(maxsize=1024)
def _forward_recipe(
    call: _Forward, strides: tuple[int, int], dtype: torch.dtype, complex_window: bool, is_real: bool, adjoint: bool,
    device: torch.device,
) -> Recipe:  # fmt: skip
    """is_real: the bins of a frame mirror each other. An adjoint's then stand for their mirror images as well."""
    row_stride = strides[0] if strides[1] == 1 else call.samples
    how = transform(call.n_fft, not is_real)
    plan = how.plan
    total = call.rows * call.frames
    params = AnyStftParams(
        samples=call.samples, row_stride=row_stride, frames=call.frames, total_frames=total,
        hop_length=call.hop_length, pad=call.pad, pad_mode=PAD_MODES[call.pad_mode],
        win_left=(call.n_fft - call.win_length) // 2, win_length=call.win_length, n_fft=call.n_fft,
        points=how.points, bins=how.bins, stored=call.bins, zero_above=adjoint and is_real, real_at_ends=is_real,
        adjoint=adjoint, envelope_head=call.head, envelope_tail=call.tail, envelope_end=call.end,
    )  # fmt: skip
    inner_weight = 2.0 if adjoint and is_real else 1.0
    args = [None, None, *_tables(call.n_fft, how, False, device), None, None, params, call.scale, inner_weight]
    kind = Kind("msp_any_stft", how.bluestein, how.packed, complex_window, dtype)
    assert kind.is_real == is_real
    return dispatch.recipe(_kernel(how, kind, device), args, -(-total // plan.frames), plan.threads, device)


@dataclass(frozen=True)
class _Inverse:
    rows: int
    frames: int
    n_fft: int
    hop_length: int
    win_length: int
    first: int
    length: int
    scale: float
    weight: float  # of a bin together with its mirror image, where the signal is real: 1/2 for gradients of one of them
    loaded: int
    real_at_ends: bool
    both_sides: bool  # the spectrum is two-sided and all of it counts
    head: int
    tail: int
    pad_mode: str = ""  # of the adjoint of stft

    @property
    def end(self) -> int:
        """The position that no frame reaches any more."""
        return self.n_fft + self.hop_length * (self.frames - 1)


@lru_cache(maxsize=1024)
def _inverse_recipe(
    call: _Inverse, strides: tuple[int, ...], complex_window: bool, complex_output: bool, complex_valued: bool,
    device: torch.device,
) -> Recipe:  # fmt: skip
    how = transform(call.n_fft, complex_valued, inverse=True)
    kind = Kind("msp_any_istft", how.bluestein, how.packed, complex_window, complex_output=complex_output)
    assert kind.is_real != complex_valued
    plan = how.plan
    halo = -(-call.n_fft // call.hop_length) - 1
    ends = padded_ends(call.first, call.length, call.pad_mode, call.n_fft, call.hop_length, call.frames)
    hops = max(-(-ends.runs_end // call.hop_length) - ends.runs_begin // call.hop_length, 0)
    slots = max(1, RESIDENT_THREADS[device.type] // plan.lanes)
    run_hops = max(1, -(-hops // runs_per_row(call.rows, hops, halo, slots)))
    runs = -(-hops // run_hops)
    run_groups, edge_groups = -(-call.rows * runs // plan.frames), -(-call.rows * ends.edges // plan.frames)
    # A packed frame takes mirror images for granted; of other frames the real part is taken, which halves what is one.
    weight = 1.0 if complex_valued else call.weight if how.packed else 2 * call.weight
    row_stride, bin_stride, frame_stride = strides
    params = AnyIstftParams(
        row_stride=row_stride, bin_stride=bin_stride, frame_stride=frame_stride, frames=call.frames,
        hop_length=call.hop_length, win_left=(call.n_fft - call.win_length) // 2, win_length=call.win_length,
        first=call.first, length=call.length, rows=call.rows, runs=runs, run_hops=run_hops, halo=halo,
        runs_begin=ends.runs_begin, runs_end=ends.runs_end, n_fft=call.n_fft, points=how.points, bins=how.bins,
        loaded=call.loaded, real_at_ends=call.real_at_ends, both_sides=call.both_sides and kind.is_real,
        adjoint=bool(call.pad_mode), envelope_head=call.head, envelope_tail=call.tail, envelope_end=call.end,
        pad_mode=PAD_MODES.get(call.pad_mode, 0), edges=ends.edges, run_groups=run_groups, edge_steps=ends.steps,
        edge_split=ends.split, edge_jump=ends.jump,
    )  # fmt: skip
    args = [None, None, *_tables(call.n_fft, how, True, device), None, None, params, call.scale, weight]
    return dispatch.recipe(_kernel(how, kind, device), args, run_groups + edge_groups, plan.threads, device)


def _tables(n_fft: int, how: Transform, inverse: bool, device: torch.device) -> list[torch.Tensor]:
    """Stage twiddles, pair twiddles, chirp and its spectrum; something with an address for those not needed."""
    stages = stage_twiddles(how.plan, device)
    pairs = pair_twiddles(n_fft, how.points, device) if how.packed else stages
    if not how.bluestein:
        return [stages, pairs, stages, stages]
    return [stages, pairs, *chirp_tables(how, inverse, device)]


def _kernel(how: Transform, kind: Kind, device: torch.device):
    return dispatch.kernel(kind.name, how.defines() + kind.defines(), device.type)


def _inverse_envelope(window: torch.Tensor, geometry: IstftGeometry) -> tuple[torch.Tensor, int, int] | None:
    """(table, head, tail) of the inverse envelope; a complex one is all head."""
    arguments = geometry.n_fft, geometry.hop_length, geometry.frames, geometry.first, geometry.reached
    if window.is_complex():
        table = complex_inverse_envelope(window, *arguments)
        return None if table is None else (table, geometry.untrimmed, geometry.untrimmed)
    envelope = inverse_envelope(window, *arguments)
    return None if envelope is None else (envelope.table, envelope.head, envelope.tail)
