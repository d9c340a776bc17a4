"""The envelope of complex windows: istft divides by the sum of their squares, which are complex too (no conjugates)."""

from __future__ import annotations

from collections import OrderedDict

import torch

from .envelope import MARGIN, NOLA_MINIMUM, Windows, remember


class _Complex:
    """A complex window on the host and the inverse envelopes already made of it."""

    LIMIT = 64

    def __init__(self, window: torch.Tensor) -> None:
        self.squares = window.to(torch.complex128).square()
        self._inverses: OrderedDict[tuple, torch.Tensor | None] = OrderedDict()

    def inverse(self, key: tuple[int, int, int, int, int], device: torch.device) -> torch.Tensor | None:
        """complex_inverse_envelope() for (n_fft, hop_length, frames, first, length), remembered."""
        if key not in self._inverses:
            remember(self._inverses, key, self._make(*key, device), self.LIMIT)
        return self._inverses[key]

    def _make(
        self, n_fft: int, hop_length: int, frames: int, first: int, length: int, device: torch.device
    ) -> torch.Tensor | None:
        left = (n_fft - self.squares.numel()) // 2
        squares = torch.nn.functional.pad(self.squares, (left, n_fft - self.squares.numel() - left))
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


_windows = Windows(_Complex)


def complex_inverse_envelope(
    window: torch.Tensor, n_fft: int, hop_length: int, frames: int, first: int, length: int
) -> torch.Tensor | None:
    """[untrimmed] complex64, the inverse at every position, or None where torch.istft must decide."""
    return _windows(window).inverse((n_fft, hop_length, frames, first, length), window.device)
