"""Launches of the general family: any n_fft to 4096, and signals, windows or outputs that are complex.

Sizes that are products of 2, 3, 5 and 7 have kernels of their own, all others share one for every power of two, by
Bluestein's algorithm. Signatures as in library.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from . import launch
from .complex_envelope import complex_inverse_envelope
from .envelope import Envelope, inverse_envelope
from .geometry import PAD_MODES, IstftGeometry, StftGeometry
from .launch import RESIDENT_THREADS, Recipe, empty
from .plan import Transform, transform
from .tables import chirp, chirp_spectrum, pair_twiddles, stage_twiddles

_COMMON = ("complex", "fft", "envelope", "padding", "bluestein")
_PARTS = {
    "msp_general_stft": (*_COMMON, "general_framing", "general_stft"),
    "msp_general_istft": (*_COMMON, "general_istft"),
}
_SAMPLES = {torch.float32: "float", torch.float16: "half", torch.bfloat16: "bfloat", torch.complex64: "float2"}


@dataclass(frozen=True)
class Kind:
    """Which of a transform's kernels: the function, and the types it reads and writes."""

    name: str
    bluestein: bool
    complex_window: bool
    sample: torch.dtype = torch.float32
    complex_output: bool = False

    def defines(self) -> str:
        values = {
            "BLUESTEIN": int(self.bluestein),
            "COMPLEX_WINDOW": int(self.complex_window),
            "SAMPLE": _SAMPLES[self.sample],
            "COMPLEX_SAMPLES": int(self.sample is torch.complex64),
            "COMPLEX_OUTPUT": int(self.complex_output),
        }
        return "".join(f"#define MSP_{name} {value}\n" for name, value in values.items())


def kernel_source(n_fft: int, complex_valued: bool, kind: Kind) -> str:
    """The Metal text of a kernel."""
    return launch.source(_PARTS[kind.name], transform(n_fft, complex_valued).plan.defines() + kind.defines())


def stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    is_real = not signal.is_complex() and not window.is_complex()
    recipe = _forward_recipe(
        _forward_geometry(geometry), signal.stride(), signal.dtype, window.is_complex(), is_real, 1.0, False,
        signal.device,
    )  # fmt: skip
    return _forward(recipe, signal, window, geometry)


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
    signal = empty((geometry.rows, geometry.length), torch.complex64 if complex_output else torch.float32,
                   spectrum.device)
    recipe(spectrum, window.contiguous(), table, signal)
    return signal


def stft_adjoint(
    gradient: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, complex_input: bool = False
) -> torch.Tensor:
    complex_valued = complex_input or window.is_complex()
    window = window.conj().resolve_conj().contiguous()
    padded = geometry.samples + 2 * geometry.pad
    end = geometry.n_fft + geometry.hop_length * (geometry.frames - 1)
    recipe = _inverse_recipe(
        _Inverse(
            geometry.rows, geometry.frames, geometry.n_fft, geometry.hop_length, geometry.win_length, 0, padded,
            geometry.scale, 0.5, geometry.bins, not complex_valued, not geometry.onesided, end, end,
        ),
        gradient.stride(), window.is_complex(), complex_input, complex_valued, gradient.device, False,
    )  # fmt: skip
    signal = empty((geometry.rows, padded), torch.complex64 if complex_input else torch.float32, gradient.device)
    if geometry.hop_length > geometry.n_fft:
        signal.zero_()  # no frame writes what lies between frames
    recipe(gradient, window, window, signal)
    return fold_padding(signal, geometry.pad, geometry.pad_mode)


def istft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> torch.Tensor | None:
    found = _inverse_envelope(window, geometry)
    if found is None:
        return None
    table, head, tail = found
    reached = geometry.reached
    if window.is_complex():
        inverse = table[geometry.first : geometry.first + reached].conj()
    else:
        inverse = Envelope(*found).expand(geometry.first, reached, geometry.hop_length)
    quotient = gradient[:, :reached] * inverse
    complex_output = gradient.is_complex()
    window = window.conj().resolve_conj()
    forward = _Forward(
        geometry.rows, reached, geometry.frames, geometry.n_fft, geometry.hop_length, geometry.win_length,
        geometry.first, "constant", geometry.scale, geometry.bins,
    )  # fmt: skip
    recipe = _forward_recipe(
        forward, quotient.stride(), quotient.dtype, window.is_complex(), not complex_output,
        1.0 if complex_output else 2.0, not complex_output, gradient.device,
    )  # fmt: skip
    return _forward(recipe, quotient, window, geometry)


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
    framed = signal.unfold(1, geometry.n_fft, geometry.hop_length).conj()
    products = (framed * inverse.view(geometry.rows, geometry.frames, geometry.n_fft)).sum((0, 1))
    products = products[geometry.win_left :][: geometry.win_length].clone()
    return products if window.is_complex() or not products.is_complex() else products.real.contiguous()


def istft_window_gradient(
    gradient: torch.Tensor, spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry
) -> torch.Tensor | None:
    # As in real.istft_window_gradient, with the complex conjugates that the derivative of w and w^2 brings.
    found = _inverse_envelope(window, geometry)
    if found is None:
        return None
    n_fft, hop_length, frames, reached = geometry.n_fft, geometry.hop_length, geometry.frames, geometry.reached
    complex_output = gradient.is_complex()
    if window.is_complex():
        inverse = found[0][geometry.first : geometry.first + reached].conj()
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

    products = (framewise.view(-1, frames, n_fft).conj() * framed(quotient)).sum((0, 1))[part]
    products = products - 2 * window.conj() * framed((output.conj() * quotient).sum(0, keepdim=True)).sum((0, 1))[part]
    return products if window.is_complex() or not products.is_complex() else products.real.contiguous()


def _apart(geometry: StftGeometry) -> StftGeometry:
    """The same frames side by side: their inverse transforms, not added up."""
    return replace(
        geometry, samples=geometry.frames * geometry.n_fft, hop_length=geometry.n_fft, win_length=geometry.n_fft, pad=0
    )


def _ones(n_fft: int, device: torch.device) -> torch.Tensor:
    return torch.ones(n_fft, device=device)


def fold_padding(padded: torch.Tensor, pad: int, pad_mode: str) -> torch.Tensor:
    """[rows, samples] from gradients of a padded signal [rows, samples + 2 pad]: the adjoint of the padding."""
    if not pad:
        return padded
    samples = padded.shape[1] - 2 * pad
    left, signal, right = padded.split((pad, samples, pad), dim=1)
    signal = signal.contiguous()
    if pad_mode == "reflect":
        signal[:, 1 : pad + 1] += left.flip(1)
        signal[:, samples - 1 - pad : samples - 1] += right.flip(1)
    elif pad_mode == "replicate":
        signal[:, 0] += left.sum(1)
        signal[:, -1] += right.sum(1)
    elif pad_mode == "circular":
        signal[:, samples - pad :] += left
        signal[:, :pad] += right
    return signal


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


def _forward_geometry(geometry: StftGeometry) -> _Forward:
    return _Forward(
        geometry.rows, geometry.samples, geometry.frames, geometry.n_fft, geometry.hop_length, geometry.win_length,
        geometry.pad, geometry.pad_mode, geometry.scale, geometry.bins,
    )  # fmt: skip


def _forward(
    recipe: Recipe, signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry | IstftGeometry
) -> torch.Tensor:
    if signal.stride(1) != 1:
        signal = signal.contiguous()
    rows, bins, frames = geometry.rows, geometry.bins, geometry.frames
    spectrum = empty((rows, bins, frames), torch.complex64, signal.device, (frames * bins, 1, bins))
    recipe(signal, window.contiguous(), spectrum)
    return spectrum


@lru_cache(maxsize=1024)
def _forward_recipe(
    call: _Forward, strides: tuple[int, int], dtype: torch.dtype, complex_window: bool, is_real: bool,
    inner_weight: float, zero_above: bool, device: torch.device,
) -> Recipe:  # fmt: skip
    row_stride = strides[0] if strides[1] == 1 else call.samples
    how = transform(call.n_fft, not is_real)
    plan = how.plan
    total = call.rows * call.frames
    params = [
        call.samples, row_stride, call.frames, total, call.hop_length, call.pad, PAD_MODES[call.pad_mode],
        (call.n_fft - call.win_length) // 2, call.win_length, call.n_fft, how.points, int(how.packed), call.bins,
        int(zero_above), int(is_real),
    ]  # fmt: skip
    args = [None, None, *_tables(call.n_fft, how, device), None, params, call.scale, inner_weight]
    kind = Kind("msp_general_stft", how.bluestein, complex_window, dtype)
    return launch.recipe(_kernel(how, kind, device), args, -(-total // plan.frames), plan.threads, device)


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

    @property
    def end(self) -> int:
        """The position that no frame reaches any more."""
        return self.n_fft + self.hop_length * (self.frames - 1)


@lru_cache(maxsize=1024)
def _inverse_recipe(
    call: _Inverse, strides: tuple[int, ...], complex_window: bool, complex_output: bool, complex_valued: bool,
    device: torch.device, normalised: bool = True,
) -> Recipe:  # fmt: skip
    how = transform(call.n_fft, complex_valued)
    plan = how.plan
    halo = -(-call.n_fft // call.hop_length) - 1
    hops = -(-(call.first + call.length) // call.hop_length) - call.first // call.hop_length
    slots = max(1, RESIDENT_THREADS[device.type] // plan.lanes)
    run_hops = max(-(-call.rows * hops // slots), halo, 1)
    runs = -(-hops // run_hops)
    total = call.rows * runs
    # A packed frame takes mirror images for granted; of other frames the real part is taken, which halves what is one.
    weight = 1.0 if complex_valued else call.weight if how.packed else 2 * call.weight
    params = [
        *strides, call.frames, call.hop_length, (call.n_fft - call.win_length) // 2, call.win_length, call.first,
        call.length, runs, total, run_hops, halo, call.n_fft, how.points, int(how.packed), call.loaded,
        int(call.real_at_ends), int(call.both_sides and how.packed), int(normalised), call.head, call.tail, call.end,
    ]  # fmt: skip
    args = [None, None, *_tables(call.n_fft, how, device), None, None, params, call.scale, weight]
    kind = Kind("msp_general_istft", how.bluestein, complex_window, complex_output=complex_output)
    return launch.recipe(_kernel(how, kind, device), args, -(-total // plan.frames), plan.threads, device)


def _tables(n_fft: int, how: Transform, device: torch.device) -> list[torch.Tensor]:
    """Stage twiddles, pair twiddles, chirp and its spectrum; something with an address for those not needed."""
    stages = stage_twiddles(how.plan, device)
    pairs = pair_twiddles(n_fft, how.points, device) if how.packed else stages
    if not how.bluestein:
        return [stages, pairs, stages, stages]
    return [stages, pairs, chirp(how.points, device), chirp_spectrum(how.points, how.plan.half, device)]


def _kernel(how: Transform, kind: Kind, device: torch.device):
    return launch.kernel(kind.name, _PARTS[kind.name], how.plan.defines() + kind.defines(), device.type)


def _inverse_envelope(window: torch.Tensor, geometry: IstftGeometry) -> tuple[torch.Tensor, int, int] | None:
    """(table, head, tail) of the inverse envelope; a complex one is all head."""
    arguments = geometry.n_fft, geometry.hop_length, geometry.frames, geometry.first, geometry.reached
    if window.is_complex():
        table = complex_inverse_envelope(window, *arguments)
        return None if table is None else (table, geometry.untrimmed, geometry.untrimmed)
    envelope = inverse_envelope(window, *arguments)
    return None if envelope is None else (envelope.table, envelope.head, envelope.tail)
