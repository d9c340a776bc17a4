"""The inverse of istft's window envelope (the sum of squared, shifted windows) and the NOLA decision, on the host.

The envelope depends on the window, n_fft, hop and frame count only, never on the spectrum. That of a complex window is
complex: its squares are not conjugated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.nn.functional import conv_transpose1d, pad

from .by_tensor import HostCopies

NOLA_MINIMUM = 1e-11  # torch.istft refuses an envelope below this
SUM_MAXIMUM = 1e38  # beyond float32 an envelope is infinite to torch, and its output zero
MARGIN = 1.01  # so close to the limit float32 decides, and that is left to torch


@dataclass(frozen=True)
class Envelope:
    """One inverse envelope: `table` on the device, and how to look a position up.

    table: [head + hop_length + (untrimmed - tail)] float32: positions [0, head) one by one, then one period of the
    steady middle (index: position modulo hop_length), then positions [tail, untrimmed). Short signals are all head, and
    so is every signal under a complex window, whose table is complex64.
    """

    table: torch.Tensor
    head: int
    tail: int

    def expand(self, first: int, length: int, hop_length: int) -> torch.Tensor:
        """[length]: the inverse envelope at positions first, first + 1, ..., one by one."""
        return _between(self.table, self.head, self.tail, hop_length, first, first + length)


class _Squared:
    """A squared window and the envelopes already made of it."""

    def __init__(self, window: torch.Tensor) -> None:
        self.squares = window.to(torch.complex128 if window.is_complex() else torch.float64).square()

    @lru_cache(maxsize=128)  # noqa: B019 (it lives in the module's cache)
    def decide(
        self, n_fft: int, hop_length: int, frames: int, first: int, length: int, forgiving: bool, device: torch.device
    ) -> Envelope | None:
        """inverse_envelope() on this device."""
        head, tail = ends(n_fft, hop_length, frames, self.squares.is_complex())
        # The table of a long signal serves every longer one: only the place of its tail moves.
        table, full = self._table(n_fft, hop_length, frames if head == tail else 0, forgiving, device)
        values = _between(full, head, tail, hop_length, first, first + length, once=True).abs()
        if not values.numel():
            return None
        if (
            forgiving
        ):  # an envelope of almost nothing does no harm, but on which side of the limit it is must be certain
            values = values[(values * MARGIN >= NOLA_MINIMUM) | values.isnan()]
            if not values.numel():
                return Envelope(table, head, tail)
        # `not >=` catches NaN as well.
        usable = float(values.min()) >= NOLA_MINIMUM * MARGIN and float(values.max()) < SUM_MAXIMUM
        return Envelope(table, head, tail) if usable else None

    @lru_cache(maxsize=64)  # noqa: B019
    def _table(
        self, n_fft: int, hop_length: int, frames: int, forgiving: bool, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(the table of an Envelope, the same envelope - not inverted - on the host). frames: of a signal that is all
        head, else 0."""
        full = self._summed(n_fft, hop_length, frames)
        # Samples that no window reaches stay as they are, or are never asked for (NOLA); a zero keeps them finite.
        inverse = torch.where(full.abs() >= NOLA_MINIMUM, 1.0 / full, torch.full_like(full, forgiving))
        return inverse.to(torch.complex64 if full.is_complex() else torch.float32).to(device), full

    def _summed(self, n_fft: int, hop_length: int, frames: int) -> torch.Tensor:
        left = (n_fft - self.squares.numel()) // 2
        squares = pad(self.squares, (left, n_fft - self.squares.numel() - left))
        if frames:
            ones = torch.ones(1, 1, frames, dtype=torch.float64, device="cpu")
            parts = torch.view_as_real(squares).t() if squares.is_complex() else squares.unsqueeze(0)
            sums = conv_transpose1d(ones, parts.unsqueeze(0), stride=hop_length)[0]
            return torch.complex(*sums) if squares.is_complex() else sums[0]
        reach = -(-n_fft // hop_length)
        hops = pad(squares, (0, reach * hop_length - n_fft)).view(reach, hop_length)
        middle = hops.sum(0)
        head = hops.cumsum(0).reshape(-1)[:n_fft]  # frames from the first on
        tail = hops.flip(0).cumsum(0).flip(0).reshape(-1)[:n_fft]  # the last frame and those before, from its start on
        return torch.cat([head, middle, tail])


def _between(
    table: torch.Tensor, head: int, tail: int, hop_length: int, begin: int, end: int, once: bool = False
) -> torch.Tensor:
    """The values that positions [begin, end) take, those of the period as often or once each.

    By copies of slices, as some of torch's functions for indices are not safe on MPS (pytorch issue 197836).
    """
    parts = [table[begin : min(end, head)]]
    first, last = max(begin, head), min(end, tail)  # of the steady part
    if first < last:
        count, offset = min(last - first, hop_length) if once else last - first, first % hop_length
        periods = table[head : head + hop_length].repeat(-(-(offset + count) // hop_length))
        parts.append(periods[offset : offset + count])
    if end > tail > head:
        offset = head + hop_length - tail
        parts.append(table[offset + max(begin, tail) : offset + end])
    return torch.cat(parts)


def ends(n_fft: int, hop_length: int, frames: int, is_complex: bool = False) -> tuple[int, int]:
    """(head, tail) of an Envelope, whatever its window."""
    untrimmed = n_fft + hop_length * (frames - 1)
    if is_complex or untrimmed <= 2 * n_fft + hop_length:
        return untrimmed, untrimmed
    return n_fft, untrimmed - n_fft


def inverse_envelope(
    window: torch.Tensor, n_fft: int, hop_length: int, frames: int, first: int, length: int, forgiving: bool = False
) -> Envelope | None:
    """The inverse envelope for output samples [first, first + length), or None where torch.istft must decide.

    window: [win_length] float32 or complex64 on any device; frames: frames per row. None means that the envelope comes
    too close to zero (torch raises its NOLA error) or is not finite. forgiving: where it is zero, its inverse is 1.
    """
    return squared(window).decide(n_fft, hop_length, frames, first, length, forgiving, window.device)


def read_backs() -> int:
    """How often a window was copied to the host so far: at most once per window and version."""
    return squared.read_backs


squared = HostCopies(_Squared, rereads_learned=True)
