"""The torch.library operators: schemas, bodies and fake kernels.

Arguments are taken as valid: routing has made sure of that, for direct callers too. Batches are rows: inputs are
[rows, samples], spectra [rows, bins, frames]. Gradients are those of torch's convention for complex numbers.
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch

from ..kernels import IstftGeometry, Ready, StftGeometry, transforms
from ..reasons import Reason, UseOriginal
from ..tensors import without_bits
from . import composite

NAMESPACE = "mps_spectro_patch"

stft_geometry = lru_cache(maxsize=1024)(StftGeometry)  # made once per signature: a call is mostly overhead
istft_geometry = lru_cache(maxsize=1024)(IstftGeometry)

_STFT = "SymInt n_fft, SymInt hop_length, SymInt win_length, SymInt pad, str pad_mode, bool normalized, bool onesided"
_ISTFT = "SymInt n_fft, SymInt hop_length, SymInt win_length, bool center, bool normalized, bool onesided"
SCHEMAS = (
    f"stft(Tensor input, Tensor window, {_STFT}) -> Tensor",
    f"stft_adjoint(Tensor gradient, Tensor window, SymInt samples, {_STFT}, bool complex_input) -> Tensor",
    f"stft_window_gradient(Tensor gradient, Tensor input, Tensor window, {_STFT}) -> Tensor",
    f"istft(Tensor input, Tensor window, {_ISTFT}, SymInt length, bool return_complex) -> Tensor",
    f"istft_adjoint(Tensor gradient, Tensor window, SymInt frames, {_ISTFT}) -> Tensor",
    f"istft_window_gradient(Tensor gradient, Tensor input, Tensor window, {_ISTFT}) -> Tensor",
)


def run_stft(
    input: torch.Tensor,
    window: torch.Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    pad: int,
    pad_mode: str,
    normalized: bool,
    onesided: bool,
) -> torch.Tensor:
    """[rows, samples] to [rows, bins, frames] complex64, in torch's memory order."""
    rows, samples = input.shape
    geometry = stft_geometry(rows, samples, n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided)
    return transforms.stft(without_bits(input), without_bits(window), geometry)


def run_stft_adjoint(
    gradient: torch.Tensor,
    window: torch.Tensor,
    samples: int,
    n_fft: int,
    hop_length: int,
    win_length: int,
    pad: int,
    pad_mode: str,
    normalized: bool,
    onesided: bool,
    complex_input: bool,
) -> torch.Tensor:
    """The gradient [rows, samples] of stft's input, for that of its output."""
    rows = gradient.shape[0]
    geometry = stft_geometry(rows, samples, n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided)
    return transforms.stft_adjoint(without_bits(gradient), without_bits(window), geometry, complex_input)


def run_stft_window_gradient(
    gradient: torch.Tensor,
    input: torch.Tensor,
    window: torch.Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    pad: int,
    pad_mode: str,
    normalized: bool,
    onesided: bool,
) -> torch.Tensor:
    """The gradient [win_length] of stft's window, for that of its output."""
    geometry = stft_geometry(*input.shape, n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided)
    return transforms.stft_window_gradient(without_bits(gradient), without_bits(input), window, geometry)


def run_istft(
    input: torch.Tensor,
    window: torch.Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    center: bool,
    normalized: bool,
    onesided: bool,
    length: int,
    return_complex: bool,
    strict: bool = True,
) -> torch.Tensor:
    """[rows, bins, frames] to [rows, length]. strict: UseOriginal where torch must decide if it can be inverted."""
    rows, _, frames = input.shape
    geometry = istft_geometry(rows, frames, n_fft, hop_length, win_length, center, normalized, onesided, length)
    signal = transforms.istft(without_bits(input), without_bits(window), geometry, return_complex)
    if signal is not None:
        return signal
    if strict:
        raise UseOriginal(Reason.NOLA)
    # Inside a compiled graph nobody can fall back for us; torch's own function raises torch's own error.
    return composite.istft(
        input, window, n_fft, hop_length, win_length, center, normalized, onesided, length, return_complex
    )


def ready(op: str, input: torch.Tensor, window: torch.Tensor, arguments: tuple) -> Ready | None:
    """run_stft or run_istft of plain tensors as a function of input and window alone, or None where there is none."""
    if op == "stft":
        return transforms.ready_stft(input, window, stft_geometry(*input.shape, *arguments))
    geometry = istft_geometry(input.shape[0], input.shape[2], *arguments[:-1])
    return transforms.ready_istft(input, window, geometry, arguments[-1])


def run_istft_adjoint(
    gradient: torch.Tensor,
    window: torch.Tensor,
    frames: int,
    n_fft: int,
    hop_length: int,
    win_length: int,
    center: bool,
    normalized: bool,
    onesided: bool,
) -> torch.Tensor:
    """The gradient [rows, bins, frames] of istft's input, for that of its output."""
    rows, length = gradient.shape
    geometry = istft_geometry(rows, frames, n_fft, hop_length, win_length, center, normalized, onesided, length)
    return _invertible(transforms.istft_adjoint(without_bits(gradient), without_bits(window), geometry))


def run_istft_window_gradient(
    gradient: torch.Tensor,
    input: torch.Tensor,
    window: torch.Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    center: bool,
    normalized: bool,
    onesided: bool,
) -> torch.Tensor:
    """The gradient [win_length] of istft's window, for that of its output."""
    rows, _, frames = input.shape
    length = gradient.shape[1]
    geometry = istft_geometry(rows, frames, n_fft, hop_length, win_length, center, normalized, onesided, length)
    gradient, input, window = map(without_bits, (gradient, input, window))
    return _invertible(transforms.istft_window_gradient(gradient, input, window, geometry))


def _invertible(result: torch.Tensor | None) -> torch.Tensor:
    if result is None:
        raise RuntimeError("the window's envelope is zero somewhere: istft has no gradient")
    return result


def _fake_stft(input, window, n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided):
    frames = 1 + (input.shape[1] + 2 * pad - n_fft) // hop_length
    return _fake_spectrum(input, n_fft, frames, onesided)


def _fake_stft_adjoint(
    gradient, window, samples, n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided, complex_input
):
    dtype = torch.complex64 if complex_input else torch.float32
    return gradient.new_empty((gradient.shape[0], samples), dtype=dtype)


def _fake_window_gradient(gradient, input, window, *arguments):
    return window.new_empty(window.shape)


def _fake_istft(input, window, n_fft, hop_length, win_length, center, normalized, onesided, length, return_complex):
    dtype = torch.complex64 if return_complex else torch.float32
    return input.new_empty((input.shape[0], length), dtype=dtype)


def _fake_istft_adjoint(gradient, window, frames, n_fft, hop_length, win_length, center, normalized, onesided):
    return _fake_spectrum(gradient, n_fft, frames, onesided)


def _fake_spectrum(tensor, n_fft, frames, onesided):
    bins = n_fft // 2 + 1 if onesided else n_fft
    shape = tensor.shape[0], bins, frames
    return tensor.new_empty_strided(shape, (frames * bins, 1, bins), dtype=torch.complex64)


_BODIES = {
    "stft": (run_stft, _fake_stft),
    "stft_adjoint": (run_stft_adjoint, _fake_stft_adjoint),
    "stft_window_gradient": (run_stft_window_gradient, _fake_window_gradient),
    "istft": (run_istft, _fake_istft),
    "istft_adjoint": (run_istft_adjoint, _fake_istft_adjoint),
    "istft_window_gradient": (run_istft_window_gradient, _fake_window_gradient),
}


def _own_namespace(attempts: int = 9) -> torch.library.Library:
    """The namespace of that name, or one with a number where another copy of this package was faster."""
    for number in range(1, attempts):
        try:
            return torch.library.Library(NAMESPACE if number == 1 else f"{NAMESPACE}_{number}", "DEF")
        except RuntimeError:  # torch lets each namespace be defined once
            continue
    return torch.library.Library(NAMESPACE, "DEF")


NAMES = tuple(_BODIES)
namespace = _own_namespace()
NAMESPACE = namespace.ns
for _schema in SCHEMAS:
    namespace.define(_schema)
for _name, (_body, _fake) in _BODIES.items():
    # One registration for every backend: the kernels pick the compiler by the tensor's device.
    namespace.impl(_name, _body if _name != "istft" else partial(run_istft, strict=False), "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{_name}", _fake, lib=namespace)

stft, stft_adjoint, stft_window_gradient, istft, istft_adjoint, istft_window_gradient = (
    getattr(getattr(torch.ops, NAMESPACE), name).default for name in _BODIES
)
