"""Calls that were made before, ready to be launched again: one look-up instead of the whole way to a kernel.

An entry is made when a call has gone the whole way. It holds for one layout of the signal, one description of the
call, and with or without a gradient of the signal; where one of window or filterbank is asked for, the whole way is
taken every time. Modes and transforms are the caller's to look for.

stft and istft are ready for any window: programs often make it anew for every call. Front ends keep theirs, and an
entry holds for one window and one filterbank.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch

from ..kernels import Ready, starts_at_pair
from .torch_internals import STOPS

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_LIMIT = 256


class _Entry(NamedTuple):
    """marks: what of window and filterbank must not have changed. what: the key has its id only."""

    launch: Ready
    window: Callable[[], torch.Tensor | None]
    basis: Callable[[], torch.Tensor | None]
    marks: tuple
    what: Any


_entries: dict[tuple, _Entry] = {}


def call(
    x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, what: Any, options: str | None
) -> torch.Tensor | None:
    """The result, if such a call of a front end was made before and nothing is different now.

    what: decides the call together with `options` and the layout of x, and is the same object every time.
    """
    if type(x) not in _PLAIN:
        return None
    try:
        key = _key(x, window, basis, what, options)
        entry = _entries.get(key)
        if entry is None or entry.window() is not window or entry.basis() is not basis:
            return None
        if entry.marks != _marks(window, basis) or x.is_neg():  # no front end takes complex numbers
            return None
    except (RuntimeError, AttributeError, TypeError):  # no strides, no storage, or no tensor
        return None
    if (window.requires_grad or (basis is not None and basis.requires_grad)) and torch.is_grad_enabled():
        return None
    return _launched(key, entry, x, window)


def call_with_any(x: torch.Tensor, window: torch.Tensor, what: Any, layout: Hashable) -> torch.Tensor | None:
    """The result, if such a call was made before with any window of this size, type and device, which `what` knows."""
    if type(x) not in _PLAIN:
        return None
    try:
        key = id(what), starts_at_pair(window), starts_at_pair(x), layout, _learns(x)
        entry = _entries.get(key)
        if entry is None or _has_bits(x) or _has_bits(window) or not window.is_contiguous():
            return None
    except (RuntimeError, AttributeError, TypeError):
        return None
    if window.requires_grad and torch.is_grad_enabled():
        return None
    return _launched(key, entry, x, window)


def offer_with_any(x: torch.Tensor, window: torch.Tensor, what: Any, layout: Hashable, launch: Ready) -> None:
    """Remembers how a call is launched with any window."""
    if type(x) in _PLAIN and not _has_bits(x) and not _has_bits(window) and window.is_contiguous():
        key = id(what), starts_at_pair(window), starts_at_pair(x), layout, _learns(x)
        _remember(key, _Entry(launch, _nothing, _nothing, (), what))


def offer(
    x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, what: Any, options: str | None, launch: Ready
) -> None:
    """Remembers how a front end is launched: with a gradient of x if one is asked for now, else without."""
    if type(x) not in _PLAIN or _has_bits(x) or _has_bits(window) or not window.is_contiguous():
        return
    if any(tensor is not None and tensor.is_inference() for tensor in (window, basis)):
        return  # whether it changed cannot be seen
    marks = _marks(window, basis)
    _remember(
        _key(x, window, basis, what, options),
        _Entry(launch, weakref.ref(window), _nothing if basis is None else weakref.ref(basis), marks, what),
    )


def _launched(key: tuple, entry: _Entry, x: torch.Tensor, window: torch.Tensor) -> torch.Tensor | None:
    try:
        return entry.launch(x, window)
    except STOPS:
        raise
    except Exception:  # the whole way meets it again, and knows what to do
        _entries.pop(key, None)
        return None


def _remember(key: tuple, entry: _Entry) -> None:
    if len(_entries) >= _LIMIT:
        _entries.clear()
    _entries[key] = entry


def clear() -> None:
    _entries.clear()


def _learns(x: torch.Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def _has_bits(tensor: torch.Tensor) -> bool:
    """Those by which torch remembers conjugation and negation: the kernels read memory."""
    return tensor.is_conj() or tensor.is_neg()


def _key(x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, what: Any, options: str | None) -> tuple:
    return (
        id(what), id(window), id(basis), x.shape, x.stride(), x.dtype, x.device, starts_at_pair(x), options,
        x.requires_grad and torch.is_grad_enabled(),
    )  # fmt: skip


def _marks(window: torch.Tensor, basis: torch.Tensor | None) -> tuple:
    """What changes with their values; `tensor.data = other` does not change the version."""
    if basis is None:
        return window._version, window.data_ptr()
    return window._version, window.data_ptr(), basis._version, basis.data_ptr()


def _nothing() -> None:
    return None
