"""A baseline: the seed package's approach, built again from its description, on any device that runs Metal text.

A kernel pads, frames and windows into memory; torch.fft transforms; the spectrum is copied into the order (bins,
frames). Back: torch.fft along the bins, a copy into the order (frames, samples), a kernel that overlaps, adds and
divides. Unlike the seed it uses no threadgroup memory, and does what suits large inputs instead of choosing by timing.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from .. import kernels

_TEXT = Path(__file__).with_suffix(".metal")
_THREADS = 256


@lru_cache(maxsize=3)
def _library(device_type: str) -> Any:
    return kernels.compile_shader(_TEXT.read_text(), "simulator" if device_type == "cpu" else device_type)


def stft(x: torch.Tensor, n_fft: int, hop_length: int, window: torch.Tensor, normalized: bool = False) -> torch.Tensor:
    """torch.stft(x [rows, samples], center=True, return_complex=True), contiguous. Any window of n_fft."""
    x = x.contiguous()
    rows, samples = x.shape
    pad = n_fft // 2
    count = 1 + (samples + 2 * pad - n_fft) // hop_length
    frames = torch.empty(rows, count, n_fft, dtype=torch.float32, device=x.device)
    _library(x.device.type).seed_frames(
        x, window, frames, samples, n_fft, hop_length, pad, count,
        threads=(n_fft, count, rows), group_size=(min(_THREADS, n_fft), 1, 1),
    )  # fmt: skip
    spectrum = torch.fft.rfft(frames)
    if normalized:
        spectrum = spectrum * n_fft**-0.5
    return spectrum.transpose(1, 2).contiguous()


def istft(spectrum: torch.Tensor, n_fft: int, hop_length: int, window: torch.Tensor, length: int,
          normalized: bool = False) -> torch.Tensor:  # fmt: skip
    """torch.istft(spectrum [rows, bins, frames], center=True, length=length)."""
    rows, _, count = spectrum.shape
    frames = torch.fft.irfft(spectrum, n_fft, dim=-2).transpose(1, 2).contiguous()
    if normalized:
        frames = frames * n_fft**0.5
    pad = n_fft // 2
    whole = max(n_fft + hop_length * (count - 1), pad + length)
    output = torch.zeros(rows, whole, dtype=torch.float32, device=spectrum.device)
    _library(spectrum.device.type).seed_overlap_add(
        frames, window, output, whole, n_fft, hop_length, count,
        threads=(whole, rows), group_size=(_THREADS, 1),
    )  # fmt: skip
    return output[:, pad : pad + length]
