"""The mel spectrogram that RMVPE and FCPE have in common: of magnitudes, for a pitch shifted by some semitones."""

from __future__ import annotations

from typing import Any

import torch

from ...front_ends import FrontEnd, Scale, remembered, shifted


@remembered
def call(
    n_fft: Any, hop_length: Any, win_length: Any, keyshift: Any, speed: Any, center: Any, clamp: Any, eps: float = 0.0,
    contiguous: bool = False,
) -> FrontEnd | None:  # fmt: skip
    """log(max(basis @ magnitude, clamp)) of the shifted sizes, or None where their owner had better look at them.

    eps: under the root of the magnitude. contiguous: see FrontEnd.
    """
    if any(type(size) is not int for size in (n_fft, hop_length, win_length)) or type(center) is not bool:
        return None
    if not all(isinstance(number, (int, float)) for number in (keyshift, speed, clamp)) or not clamp > 0:
        return None
    try:
        sizes = shifted(n_fft, hop_length, win_length, float(keyshift), float(speed))
    except (ValueError, OverflowError):
        return None
    if round(hop_length * speed) < 1:
        return None
    gain = 1.0 if keyshift == 0 else win_length / sizes[2]
    scale = Scale("clamp", float(clamp))
    return FrontEnd(*sizes, center, "reflect", power=1.0, eps=eps, gain=gain, scale=scale, contiguous=contiguous)


def is_plain(signal: Any, basis: Any, n_fft: int) -> bool:
    """[rows, samples] float32, and a filterbank of the unshifted size on the same device; a product of both is float32
    as well."""
    return (
        isinstance(signal, torch.Tensor) and isinstance(basis, torch.Tensor)
        and signal.dtype is basis.dtype is torch.float32 and signal.device == basis.device
        and signal.layout is basis.layout is torch.strided
        and signal.dim() == basis.dim() == 2 and basis.shape[1] == n_fft // 2 + 1
        and not torch.is_autocast_enabled(signal.device.type)
    )  # fmt: skip
