"""One small call of every kind that the self-test makes, beside the same in float64 on the CPU.

The ops are torch's ("stft", "istft"), and the front ends' "features" and "features_gradient": a log-mel spectrogram
with a floor, and the gradient of one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..kernels import Bands, IstftGeometry, Plan, StftGeometry, features, fft, smooth_size, transforms

FRONT_ENDS = ("features", "features_gradient")
_BANDS = 80
_WANTED = features.Features(_BANDS, scale="add", amin=0.5, factor=4.0)
_BELOW = 3.0  # of values that reach some 20: about a fifth of them lie lower


def kernel(op: str, n_fft: int, device: torch.device) -> tuple[Any, Plan]:
    """The compiled kernel of the trial, and the plan that it is launched by."""
    if op in FRONT_ENDS:
        return features.kernel(n_fft, _BANDS, op == "features_gradient", device)
    which = (fft.stft_plan if op == "stft" else fft.istft_plan)(n_fft)
    return smooth_size.kernel(which, smooth_size.Kind(f"msp_{op}"), device), which


def numbers(op: str, n_fft: int, device: torch.device) -> tuple[Tensor | None, Tensor]:
    """(the kernel's result, what it should be)."""
    hop_length, rows = n_fft // 4, 2
    generator = torch.Generator(device="cpu").manual_seed(n_fft)
    samples = 4 * n_fft + 3
    signal = torch.randn(rows, samples, generator=generator, dtype=torch.float32, device="cpu")
    window = torch.hann_window(n_fft, dtype=torch.float32, device="cpu")
    forward = StftGeometry(rows, samples, n_fft, hop_length, n_fft, n_fft // 2, "reflect", False)
    if op in FRONT_ENDS:
        return _front_end(op, signal, window, forward, generator, device)
    spectrum = _spectrum(signal.double(), window, forward)
    if op == "stft":
        return transforms.stft(signal.to(device), window.to(device), forward), spectrum
    inverse = IstftGeometry(rows, forward.frames, n_fft, hop_length, n_fft, n_fft // 2, False, True, False, samples)
    spectrum = spectrum.to(torch.complex64)
    wide, by = spectrum.to(torch.complex128), window.double()
    expected = torch._VF.istft(wide, n_fft, hop_length, n_fft, by, True, False, True, samples)
    return transforms.istft(spectrum.to(device), window.to(device), inverse), expected


def _front_end(
    op: str, signal: Tensor, window: Tensor, geometry: StftGeometry, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    basis = _triangles(geometry.bins)
    bands = Bands(basis)
    on_device = signal.to(device), window.to(device)
    wide = signal.double().requires_grad_(op == "features_gradient")
    with torch.enable_grad():
        power = _spectrum(wide, window, geometry).abs().square()
        values = (basis.double() @ power + _WANTED.amin).log() * _WANTED.factor
    if op == "features":
        floor = values.amax((1, 2), keepdim=True) - _BELOW
        return features.limited_features(*on_device, geometry, _WANTED, bands, 1, _BELOW), values.maximum(floor)
    gradient = torch.randn(values.shape, generator=generator, dtype=torch.float32, device="cpu")
    (expected,) = torch.autograd.grad(values, wide, gradient.double())
    return features.features_gradient(gradient.to(device), *on_device, geometry, _WANTED, bands), expected


def _spectrum(signal: Tensor, window: Tensor, geometry: StftGeometry) -> Tensor:
    padded = torch.nn.functional.pad(signal[None], (geometry.pad, geometry.pad), "reflect")[0]
    n_fft = geometry.n_fft
    return torch._VF.stft(padded, n_fft, geometry.hop_length, n_fft, window.double(), False, True, True)


def _triangles(bins: int) -> Tensor:
    """[_BANDS, bins]: overlapping bands that widen towards the top, as those of a mel filterbank do."""
    position = torch.arange(bins, dtype=torch.float64, device="cpu")
    edges = torch.linspace(0, (bins - 1) ** 0.5, _BANDS + 2, dtype=torch.float64, device="cpu").square()[:, None]
    rising = (position - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - position) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()
