"""The inverse of istft's window envelope (the sum of squared, shifted windows) and the NOLA decision, on the host.

The envelope depends on the window, n_fft, hop and frame count only, never on the spectrum. A window is read back from
its device once, when it is first seen, and known again by identity and version: a weak reference tells a reused address
from the same tensor, the version counter tells an in-place change. `window.data.mul_(2)` hides from both.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

T = TypeVar("T")

NOLA_MINIMUM = 1e-11  # torch.istft refuses an envelope below this
SQUARE_MAXIMUM = 1e38
MARGIN = 1.01  # so close to the limit float32 decides, and that is left to torch


@dataclass(frozen=True)
class Envelope:
    """One inverse envelope: `table` on the device, and how to look a position up.

    table: [head + hop_length + (untrimmed - tail)] float32: positions [0, head) one by one, then one period of the
    steady middle (index: position modulo hop_length), then positions [tail, untrimmed). Short signals are all head.
    """

    table: torch.Tensor
    head: int
    tail: int

    def expand(self, first: int, length: int, hop_length: int) -> torch.Tensor:
        """[length]: the inverse envelope at positions first, first + 1, ..., one by one."""
        position = torch.arange(first, first + length, device=self.table.device)
        period = self.head + position % hop_length
        behind = self.head + hop_length + position - self.tail
        index = torch.where(position < self.head, position, torch.where(position < self.tail, period, behind))
        return self.table[index]


class Windows(Generic[T]):
    """What `make` makes of windows on the host, by identity and version of the tensor they were read from."""

    LIMIT = 64

    def __init__(self, make: Callable[[torch.Tensor], T]) -> None:
        self._make = make
        self._known: dict[int, tuple[weakref.ref, int, int, T]] = {}
        self._by_content: OrderedDict[tuple[torch.device, bytes], T] = OrderedDict()
        self.read_backs = 0

    def __call__(self, window: torch.Tensor) -> T:
        # Inference tensors keep no version: an in-place change would go unnoticed, so those are read every time. So are
        # windows that learn: they change all the time, and numerical derivatives change them through .data.
        version = -1 if window.is_inference() or window.requires_grad else window._version
        key = id(window)
        entry = self._known.get(key)
        address = window.data_ptr()  # `window.data = other` changes neither identity nor version
        if entry is not None and version >= 0 and entry[0]() is window and entry[1:3] == (version, address):
            return entry[3]
        self.read_backs += 1
        # First to the CPU, then to float64: Metal has no double to convert to on the way.
        values = window.detach().cpu().resolve_conj().contiguous()
        # Programs that make their window anew for every call find the envelopes of the last one by its contents.
        content = window.device, ctypes.string_at(values.data_ptr(), values.numel() * values.element_size())
        made = self._by_content.get(content)
        if made is None:
            made = self._make(values)
            remember(self._by_content, content, made, self.LIMIT)
        if version >= 0:
            reference = weakref.ref(window, lambda _, key=key: self._known.pop(key, None))
            self._known[key] = (reference, version, address, made)
        return made


class _Squared:
    """A squared window and the envelopes already made of it."""

    LIMIT = 64

    def __init__(self, window: torch.Tensor) -> None:
        self.values = window.double().square()
        self._tables: OrderedDict[tuple, tuple[torch.Tensor, torch.Tensor]] = OrderedDict()
        self._decisions: OrderedDict[tuple, Envelope | None] = OrderedDict()

    def envelope(self, n_fft: int, hop_length: int, frames: int, device: torch.device) -> tuple[Envelope, torch.Tensor]:
        """(the device's table, the same envelope - not inverted - in float64 on the host)."""
        head, tail = ends(n_fft, hop_length, frames)
        # The table of a long signal serves every longer one: only the place of its tail moves.
        short = head if head == tail else 0
        key = n_fft, hop_length, short, device
        found = self._tables.get(key)
        if found is None:
            found = self._make(n_fft, hop_length, short, device)
            remember(self._tables, key, found, self.LIMIT)
        return Envelope(found[0], head, tail), found[1]

    def _make(self, n_fft: int, hop_length: int, short: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """short: samples of a signal that is all head, else 0."""
        window = torch.zeros(n_fft, dtype=torch.float64, device="cpu")
        left = (n_fft - self.values.numel()) // 2
        window[left : left + self.values.numel()] = self.values
        if short:
            ones = torch.ones(1, 1, (short - n_fft) // hop_length + 1, dtype=torch.float64, device="cpu")
            full = torch.nn.functional.conv_transpose1d(ones, window.view(1, 1, -1), stride=hop_length)[0, 0]
            return _inverse(full, device), full
        reach = -(-n_fft // hop_length)
        hops = torch.nn.functional.pad(window, (0, reach * hop_length - n_fft)).view(reach, hop_length)
        middle = hops.sum(0)
        head = hops.cumsum(0).reshape(-1)[:n_fft]  # frames from the first on
        tail = hops.flip(0).cumsum(0).flip(0).reshape(-1)[:n_fft]  # the last frame and those before, from its start on
        full = torch.cat([head, middle, tail])
        return _inverse(full, device), full

    def minimum(self, n_fft: int, hop_length: int, frames: int, first: int, length: int, device: torch.device) -> float:
        """Smallest envelope value over the output samples [first, first + length)."""
        envelope, full = self.envelope(n_fft, hop_length, frames, device)
        end = first + length
        parts = [full[first : min(end, envelope.head)]]
        if end > envelope.head and first < envelope.tail:
            parts.append(_period(full, envelope.head, hop_length, max(first, envelope.head), min(end, envelope.tail)))
        if end > envelope.tail and envelope.tail > envelope.head:
            offset = envelope.head + hop_length - envelope.tail
            parts.append(full[offset + max(first, envelope.tail) : offset + end])
        values = torch.cat(parts)
        return float(values.min()) if values.numel() else 0.0

    def decide(self, key: tuple[int, int, int, int, int], device: torch.device) -> Envelope | None:
        """inverse_envelope() for (n_fft, hop_length, frames, first, length), remembered."""
        try:
            return self._decisions[key]
        except KeyError:
            pass
        # `not >=` catches NaN as well. Squares beyond float32 are infinite to torch, and its output zero.
        usable = self.minimum(*key, device) >= NOLA_MINIMUM * MARGIN and float(self.values.max()) < SQUARE_MAXIMUM
        decision = self.envelope(*key[:3], device)[0] if usable else None
        remember(self._decisions, key, decision, self.LIMIT)
        return decision


def ends(n_fft: int, hop_length: int, frames: int) -> tuple[int, int]:
    """(head, tail) of an Envelope, whatever its window."""
    untrimmed = n_fft + hop_length * (frames - 1)
    return (n_fft, untrimmed - n_fft) if untrimmed > 2 * n_fft + hop_length else (untrimmed, untrimmed)


def inverse_envelope(
    window: torch.Tensor, n_fft: int, hop_length: int, frames: int, first: int, length: int
) -> Envelope | None:
    """The inverse envelope for output samples [first, first + length), or None where torch.istft must decide.

    window: [win_length] float32 on any device; frames: frames per row. None means that the envelope comes too close to
    zero (torch raises its NOLA error) or is not finite.
    """
    return _squared(window).decide((n_fft, hop_length, frames, first, length), window.device)


def read_backs() -> int:
    """How often a window was copied to the host so far: at most once per window and version."""
    return _squared.read_backs


def _period(full: torch.Tensor, head: int, hop_length: int, begin: int, end: int) -> torch.Tensor:
    period = full[head : head + hop_length]
    if end - begin >= hop_length:
        return period
    return period[torch.arange(begin, end, device="cpu") % hop_length]


def _inverse(envelope: torch.Tensor, device: torch.device) -> torch.Tensor:
    # Samples that no window reaches are never asked for (NOLA); a zero keeps them finite.
    inverse = torch.where(envelope >= NOLA_MINIMUM, 1.0 / envelope, torch.zeros_like(envelope))
    return inverse.to(torch.float32).to(device)


def remember(cache: OrderedDict, key: tuple, value: object, limit: int) -> None:
    """Puts a value into a cache that forgets its oldest beyond `limit`."""
    cache[key] = value
    if len(cache) > limit:
        cache.popitem(last=False)


_squared = Windows(_Squared)
