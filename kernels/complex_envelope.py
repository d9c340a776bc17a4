"""The envelope of complex windows: istft divides by the sum of their squares, which are complex too (no conjugates)."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch

from .envelope import MARGIN, NOLA_MINIMUM


def complex_inverse_envelope(
    window: torch.Tensor, n_fft: int, hop_length: int, frames: int, first: int, length: int
) -> torch.Tensor | None:
    """[untrimmed] complex64, the inverse at every position, or None where torch.istft must decide.

    The window is read back on every call: complex windows are rare.
    """
    values = window.detach().resolve_conj().cpu().contiguous()
    content = ctypes.string_at(values.data_ptr(), values.numel() * values.element_size())
    return _of_contents(content, n_fft, hop_length, frames, first, length, window.device)


@lru_cache(maxsize=64)
def _of_contents(
    content: bytes, n_fft: int, hop_length: int, frames: int, first: int, length: int, device: torch.device
) -> torch.Tensor | None:
    squares = torch.frombuffer(bytearray(content), dtype=torch.complex64).to(torch.complex128).square()
    left = (n_fft - squares.numel()) // 2
    squares = torch.nn.functional.pad(squares, (left, n_fft - squares.numel() - left))
    ones = torch.ones(1, 1, frames, dtype=torch.float64, device="cpu")
    parts = [
        torch.nn.functional.conv_transpose1d(ones, part.reshape(1, 1, -1), stride=hop_length)[0, 0]
        for part in (squares.real, squares.imag)
    ]
    envelope = torch.complex(*parts)
    needed = envelope[first : first + length].abs()
    if not (needed.numel() and float(needed.min()) >= NOLA_MINIMUM * MARGIN and float(needed.max()) < 1e38):
        return None
    inverse = torch.where(envelope.abs() >= NOLA_MINIMUM, 1 / envelope, torch.zeros_like(envelope))
    return inverse.to(torch.complex64).to(device)
