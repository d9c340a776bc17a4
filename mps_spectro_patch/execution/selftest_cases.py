"""One small call of every kind that the self-test makes, beside the same in float64 on the CPU.

The ops are torch's ("stft", "istft"), and the front ends' "features" and "features_gradient": a log-mel spectrogram
with a floor, and the gradient of one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import routing
from ..kernels import Bands, Plan, StftGeometry, features, fft, smooth_size
from ..reasons import Call
from . import comparison, launches

FRONT_ENDS = ("features", "features_gradient")
_BANDS = 80
_WANTED = features.Features(_BANDS, scale="add", amin=0.5, factor=4.0)
_BELOW = 3.0  # of values that reach some 20: about a fifth of them lie lower


def kernel(op: str, n_fft: int, device: torch.device) -> tuple[Any, Plan]:
    """The compiled kernel that the trial launches, and the plan that it is launched by."""
    if op in FRONT_ENDS:
        return features.kernel(n_fft, _BANDS, op == "features_gradient", device, _WANTED.scale)
    which = fft.stft_plan(n_fft) if op == "stft" else fft.inverse_plan(n_fft, n_fft // 4)
    return smooth_size.kernel(which, smooth_size.Kind(f"msp_{op}"), device), which


def numbers(op: str, n_fft: int, device: torch.device) -> tuple[Tensor | None, Tensor]:
    """(the kernel's result, what it should be)."""
    if op in FRONT_ENDS:
        return _front_end(op, n_fft, device)
    arguments, decision = call(op, n_fft)
    input, window = arguments[0], arguments[4]
    launches.load_operators()
    result = launches.again(op, decision, input.to(device), window.to(device))
    if op == "stft":
        return result, _spectrum(input.double(), window, _geometry(input, n_fft))
    return result, torch._VF.istft(input.to(torch.complex128), *arguments[1:4], window.double(), *arguments[5:9])


def call(op: str, n_fft: int) -> tuple[tuple, Call]:
    """(the arguments of the trial's call of torch.stft or torch.istft, on the CPU; what routing makes of them)."""
    signal, window = _signal(n_fft)
    sizes = n_fft, n_fft // 4, n_fft, window, True
    if op == "stft":
        arguments = signal, *sizes, "reflect", False, True, True, None
    else:
        spectrum = _spectrum(signal.double(), window, _geometry(signal, n_fft)).to(torch.complex64)
        arguments = spectrum, *sizes, False, True, signal.shape[1], False
    decision = routing.decide(op, ("is_cpu",), arguments)
    assert isinstance(decision, Call), decision
    return arguments, decision


def _signal(n_fft: int) -> tuple[Tensor, Tensor]:
    """([rows, samples], its window), always the same."""
    generator = torch.Generator(device="cpu").manual_seed(n_fft)
    signal = torch.randn(2, 4 * n_fft + 3, generator=generator, dtype=torch.float32, device="cpu")
    return signal, torch.hann_window(n_fft, dtype=torch.float32, device="cpu")


def _geometry(signal: Tensor, n_fft: int) -> StftGeometry:
    return StftGeometry(*signal.shape, n_fft, n_fft // 4, n_fft, n_fft // 2, "reflect", False)


def _front_end(op: str, n_fft: int, device: torch.device) -> tuple[Tensor, Tensor]:
    signal, window = _signal(n_fft)
    geometry = _geometry(signal, n_fft)
    basis = _triangles(geometry.bins)
    bands = Bands(basis)
    on_device = signal.to(device), window.to(device)
    wide = signal.double().requires_grad_(op == "features_gradient")
    with torch.enable_grad(), comparison.nobody_elses_hooks():
        power = _spectrum(wide, window, geometry).abs().square()
        values = (basis.double() @ power + _WANTED.amin).log() * _WANTED.factor
    if op == "features":
        floor = values.amax((1, 2), keepdim=True) - _BELOW
        return features.limited_features(*on_device, geometry, _WANTED, bands, 1, _BELOW), values.maximum(floor)
    generator = torch.Generator(device="cpu").manual_seed(n_fft + 1)
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
