"""The operator of the front ends made of torch's own functions, on any device and in any precision: for calls without
a kernel, for second derivatives, and as the reference of verification. Only functions that are never patched are used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arguments import FeatureArguments
from . import composite


def features(input: Tensor, window: Tensor, basis: Tensor | None, *arguments: Any) -> Tensor:
    """[rows, samples] to [rows, width, frames], as ops.features. arguments: FeatureArguments."""
    call = FeatureArguments(*arguments)
    return of_spectrum(composite.stft(input, window, *call.stft()), basis, call)


def of_spectrum(spectrum: Tensor, basis: Tensor | None, call: FeatureArguments) -> Tensor:
    """The same, from the spectrum: complex [rows, bins, frames]."""
    if call.dropped:
        spectrum = spectrum[..., : spectrum.shape[-1] - call.dropped]
    values = powers(spectrum, *call.powers())
    if basis is None:
        values = resized(values, call.width)
    else:
        values = product(basis, resized(values, basis.shape[1]))
    return finished(values, call)


def finished(values: Tensor, call: FeatureArguments) -> Tensor:
    """Features from values, as they are to lie in memory."""
    result = scaled(values, *call.scaling())
    return result.contiguous() if call.contiguous else result


def powers(spectrum: Tensor, power: float, eps: float, gain: float, floor: float) -> Tensor:
    """(|X|^power + eps) * gain; with power 1, sqrt(|X|^2 + eps) * gain. floor: |X|^2 is at least this, and eps is 0."""
    if floor:
        value = (spectrum.real.square() + spectrum.imag.square()).clamp(min=floor)
        value = value if power == 2 else value.sqrt() if power == 1 else value.pow(power / 2)
    elif power == 2:
        value = spectrum.real.square() + spectrum.imag.square()
    elif power == 1 and eps:
        value = (spectrum.real.square() + spectrum.imag.square() + eps).sqrt()
    else:
        value = spectrum.abs() if power == 1 else spectrum.abs().pow(power)
    if eps and power != 1:
        value = value + eps
    return value if gain == 1 else value * gain


def powers_gradient(spectrum: Tensor, gradient: Tensor, power: float, eps: float, gain: float, floor: float) -> Tensor:
    """From the gradient of powers() to that of the spectrum, in torch's convention; zero where the spectrum is zero."""
    if floor:
        gradient = torch.where(spectrum.real.square() + spectrum.imag.square() < floor, 0, gradient)
    if power == 2:
        return spectrum * (2 * gain * gradient)
    if power == 1:
        root = (spectrum.real.square() + spectrum.imag.square() + eps).sqrt() if eps else spectrum.abs()
        return spectrum * (gain * gradient / torch.where(root == 0, 1, root))
    size = spectrum.abs()
    return spectrum.sgn() * (power * gain * gradient * size.pow(power - 1))


def resized(values: Tensor, bins: int) -> Tensor:
    """[rows, bins, frames]: further bins are cut off, missing ones are zeros."""
    have = values.shape[-2]
    if have > bins:
        return values[..., :bins, :]
    return values if have == bins else torch.nn.functional.pad(values, (0, 0, 0, bins - have))


def product(basis: Tensor, values: Tensor) -> Tensor:
    """basis [bands, freqs] @ values [rows, bins <= freqs, frames], laid out frame by frame, as torchaudio's."""
    return torch.matmul(values.transpose(-1, -2), basis[:, : values.shape[-2]].t()).transpose(-1, -2)


def scaled(values: Tensor, scale: str, amin: float, factor: float, offset: float) -> Tensor:
    """Features from values: the values themselves, or factor * log(...) + offset."""
    if scale == "linear":
        return values
    if scale == "clamp":
        result = values.clamp(min=amin).log()
    elif scale == "add":
        result = (values + amin).log()
    else:
        result = (values / amin).log1p()
    if factor != 1:
        result = result * factor
    return result + offset if offset else result


def scaled_gradient(values: Tensor, gradient: Tensor, scale: str, amin: float, factor: float, offset: float) -> Tensor:
    """From the gradient of scaled() to that of the values. The offset does not matter."""
    if scale == "linear":
        return gradient
    if scale == "clamp":
        return torch.where(values >= amin, gradient * factor / values.clamp(min=amin), 0)
    return gradient * factor / (values + amin)
