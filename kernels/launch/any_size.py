"""Launches for any size: all n_fft to 4096, and signals, windows or outputs that are complex.

Sizes that are products of 2, 3, 5 and 7 have kernels of their own. All others share a few kernels per power of two, by
Bluestein's algorithm. Signatures as in kernels/launch/transforms.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch.nn.functional import pad

from ..plans.convolution import Transform, transform
from ..plans.geometry import Geometry, IstftGeometry, StftGeometry, padded_ends, runs_per_row
from ..plans.plan import defines
from ..tables.envelope import inverse_envelope
from ..tables.twiddles import chirp_tables, pair_twiddles, stage_twiddles
from . import dispatch
from .call_fields import forward_fields, inverse_fields
from .dispatch import RESIDENT_THREADS, Recipe, empty_spectrum, readable
from .frame_sums import sum_of_frames
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
        return defines(
            BLUESTEIN=self.bluestein, PACKED=self.packed, FOLDED=False, MAGNITUDES=False, REAL=self.is_real,
            INVERSE=self.inverse, COMPLEX_WINDOW=self.complex_window, SAMPLE=dispatch.SAMPLE_TYPES[self.sample],
            COMPLEX_SAMPLES=self.sample is torch.complex64, COMPLEX_OUTPUT=self.complex_output,
        )  # fmt: skip


def kernel_source(n_fft: int, complex_valued: bool, kind: Kind) -> str:
    """The Metal text of a kernel."""
    how = transform(n_fft, complex_valued, kind.inverse)
    return dispatch.kernel_text(kind.name, how.defines() + kind.defines())


def stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    return _forward(signal, window, window, geometry)


def istft(
    spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry, complex_output: bool = False
) -> torch.Tensor | None:
    envelope = inverse_envelope(window, *geometry.of_envelope)
    if envelope is None:
        return None
    return _inverse(spectrum, window, envelope.table, geometry, complex_output, complex_output)


def stft_adjoint(
    gradient: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, complex_input: bool = False
) -> torch.Tensor:
    complex_valued = complex_input or window.is_complex()
    return _inverse(gradient, window, window, geometry, complex_input, complex_valued)


def istft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> torch.Tensor | None:
    envelope = inverse_envelope(window, *geometry.of_envelope)
    return None if envelope is None else _forward(gradient, window, envelope.table, geometry)


def stft_window_gradient(
    gradient: torch.Tensor, signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry
) -> torch.Tensor:
    # The sum over rows and frames of the frame's samples times the inverse transform of its gradient.
    complex_valued = signal.is_complex() or window.is_complex()
    n_fft, frames = geometry.n_fft, geometry.frames
    # The same frames side by side: their inverse transforms, not added up.
    apart = replace(geometry, samples=frames * n_fft, hop_length=n_fft, win_length=n_fft, pad=0)
    inverse = stft_adjoint(gradient, _ones(n_fft, gradient.device), apart, complex_input=complex_valued)
    if geometry.pad:
        signal = pad(signal[None], (geometry.pad, geometry.pad), geometry.pad_mode)[0]
    framed = signal.unfold(1, n_fft, geometry.hop_length).conj_physical()
    products = (framed * inverse.view(geometry.rows, frames, n_fft)).sum((0, 1))
    return _like(window, products[geometry.window_part].clone())


def istft_window_gradient(
    gradient: torch.Tensor, spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry
) -> torch.Tensor | None:
    # As in smooth_size.istft_window_gradient, with the complex conjugates that the derivative of w and w^2 brings.
    envelope = inverse_envelope(window, *geometry.of_envelope)
    if envelope is None:
        return None
    n_fft, hop_length, frames, reached = geometry.n_fft, geometry.hop_length, geometry.frames, geometry.samples
    complex_output = gradient.is_complex()
    quotient = gradient[:, :reached] * envelope.expand(geometry.pad, reached, hop_length).conj_physical()
    output = istft(spectrum, window, replace(geometry, length=reached), complex_output)
    apart = replace(geometry, hop_length=n_fft, win_length=n_fft, trim=0, length=frames * n_fft)
    framewise = istft(spectrum, _ones(n_fft, spectrum.device), apart, complex_output)
    assert output is not None and framewise is not None
    # Conjugates are written out: compiled code of torch ignores the bit that stands for one.
    part = geometry.window_part
    framed = pad(quotient, geometry.margins).unfold(1, n_fft, hop_length)
    products = (framewise.view(-1, frames, n_fft).conj_physical() * framed).sum((0, 1))
    samples = pad((output.conj_physical() * quotient).sum(0), geometry.margins)
    whole = sum_of_frames(samples, frames, n_fft, hop_length)
    return _like(window, products[part] - 2 * window.conj_physical() * whole[part])


def _ones(n_fft: int, device: torch.device) -> torch.Tensor:
    return torch.ones(n_fft, dtype=torch.float32, device=device)


def _like(window: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of a window, real if it is."""
    return gradient if window.is_complex() or not gradient.is_complex() else gradient.real.contiguous()


def _forward(signal: torch.Tensor, window: torch.Tensor, table: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """From samples to spectra. table: the inverse envelope of an adjoint."""
    signal, window, device = readable(signal), window.contiguous(), signal.device
    recipe = _forward_recipe(geometry, signal.stride(0), signal.dtype, window.is_complex(), device)
    spectrum = empty_spectrum(geometry.rows, geometry.bins, geometry.frames, device)
    recipe(signal, window, table.contiguous(), spectrum)
    return spectrum


def _inverse(
    spectrum: torch.Tensor, window: torch.Tensor, table: torch.Tensor, geometry: Geometry, complex_output: bool,
    complex_valued: bool,
) -> torch.Tensor:  # fmt: skip
    """From spectra to samples. table: the inverse envelope, but of an adjoint."""
    window, device = window.contiguous(), spectrum.device
    recipe = _inverse_recipe(
        geometry, spectrum.stride(), window.is_complex(), complex_output, complex_valued, device
    )  # fmt: skip
    dtype = torch.complex64 if complex_output else torch.float32
    signal = torch.empty((geometry.rows, geometry.length), dtype=dtype, device=device)
    if geometry.hop_length > geometry.n_fft:
        signal.zero_()  # no frame writes what lies between frames
    recipe(spectrum, window, table.contiguous(), signal)
    return signal


@lru_cache(maxsize=1024)
def _forward_recipe(
    geometry: Geometry, row_stride: int, dtype: torch.dtype, complex_window: bool, device: torch.device
) -> Recipe:
    adjoint = isinstance(geometry, IstftGeometry)
    is_real = not (dtype.is_complex or complex_window)  # the bins of a frame mirror each other
    how = transform(geometry.n_fft, not is_real)
    kind = Kind("msp_any_stft", how.bluestein, how.packed, complex_window, dtype)
    params = AnyStftParams(
        **forward_fields(geometry, row_stride, complex_window), n_fft=geometry.n_fft, points=how.points, bins=how.bins,
        stored=geometry.bins, zero_above=adjoint and is_real, real_at_ends=is_real, adjoint=adjoint,
    )  # fmt: skip
    inner_weight = 2.0 if adjoint and is_real else 1.0  # bins of an adjoint stand for their mirror images as well
    groups = -(-params.total_frames // how.plan.frames)
    return _recipe(how, kind, params, geometry, inner_weight, groups, device)


@lru_cache(maxsize=1024)
def _inverse_recipe(
    geometry: Geometry, strides: tuple[int, ...], complex_window: bool, complex_output: bool, complex_valued: bool,
    device: torch.device,
) -> Recipe:  # fmt: skip
    adjoint = isinstance(geometry, StftGeometry)
    how = transform(geometry.n_fft, complex_valued, inverse=True)
    kind = Kind("msp_any_istft", how.bluestein, how.packed, complex_window, complex_output=complex_output)
    assert kind.is_real != complex_valued
    plan, rows, hop_length = how.plan, geometry.rows, geometry.hop_length
    edges = padded_ends(geometry)
    hops = max(-(-edges.runs_end // hop_length) - edges.runs_begin // hop_length, 0)
    slots = max(1, RESIDENT_THREADS[device.type] // plan.lanes)
    run_hops = max(1, -(-hops // runs_per_row(rows, hops, geometry.halo, slots)))
    runs = -(-hops // run_hops)
    run_groups, edge_groups = -(-rows * runs // plan.frames), -(-rows * edges.edges // plan.frames)
    loaded = geometry.bins if adjoint else geometry.n_fft if complex_output else geometry.n_fft // 2 + 1
    params = AnyIstftParams(
        **inverse_fields(geometry, strides, edges, complex_window), rows=rows, runs=runs, run_hops=run_hops,
        n_fft=geometry.n_fft, points=how.points, bins=how.bins, loaded=loaded, real_at_ends=not complex_valued,
        both_sides=adjoint and not geometry.onesided and kind.is_real, adjoint=adjoint, run_groups=run_groups,
        edge_steps=edges.steps, edge_split=edges.split, edge_jump=edges.jump,
    )  # fmt: skip
    weight = 1.0
    if kind.is_real:
        # The gradient of one bin is half of what the bin counts for together with its mirror image. A packed frame
        # takes mirror images for granted; of other frames the real part is taken, which halves what is one.
        weight = (0.5 if adjoint else 1.0) * (1 if how.packed else 2)
    return _recipe(how, kind, params, geometry, weight, run_groups + edge_groups, device)


def _recipe(
    how: Transform, kind: Kind, params: AnyStftParams | AnyIstftParams, geometry: Geometry, inner_weight: float,
    groups: int, device: torch.device,
) -> Recipe:  # fmt: skip
    kernel = dispatch.kernel(kind.name, how.defines() + kind.defines(), device.type)
    tables = transform_tables(geometry.n_fft, how, kind.inverse, device)
    args = [None, None, *tables, None, None, params, geometry.scale, inner_weight]
    return dispatch.recipe(kernel, args, groups, how.plan.threads, device)


def transform_tables(n_fft: int, how: Transform, inverse: bool, device: torch.device) -> list[torch.Tensor]:
    """Stage twiddles, pair twiddles, chirp and its spectrum; something with an address for those not needed."""
    stages = stage_twiddles(how.plan, device)
    pairs = pair_twiddles(n_fft, how.points, device) if how.packed else stages
    return [stages, pairs, *(chirp_tables(how, inverse, device) if how.bluestein else (stages, stages))]
