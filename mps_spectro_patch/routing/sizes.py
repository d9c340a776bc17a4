"""Sizes that are no plain ints, but that torch takes for one: numpy's integers, tensors of one, subclasses of int."""

from __future__ import annotations

import operator
import sys
from typing import Any

import torch

from ..tensors import PLAIN

_PLACES = {"stft": (1, 2, 3), "istft": (1, 2, 3, 8)}  # n_fft, hop_length, win_length, length
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def with_plain_sizes(op: str, arguments: tuple) -> tuple:
    """The arguments, each size as an int if torch takes it for one. The same tuple if nothing is to be changed.

    Reads the values of tensors, as torch does.
    """
    plain = {place: plain_size(arguments[place]) for place in _PLACES[op]}
    if all(size is arguments[place] for place, size in plain.items()):
        return arguments
    return tuple(plain.get(place, argument) for place, argument in enumerate(arguments))


def plain_size(size: Any) -> Any:
    """The int that torch makes of a size, or the size itself if it is one or torch refuses it.

    torch refuses bools, floats, arrays, tensors with dimensions and whatever else has __index__.
    """
    if size is None or type(size) in (int, bool):
        return size
    if isinstance(size, int):
        return int.__index__(size)
    try:
        if type(size) in PLAIN:
            return operator.index(size) if size.dim() == 0 and size.dtype in _INTEGERS else size
        if isinstance(size, getattr(sys.modules.get("numpy"), "integer", ())):
            return operator.index(size)
    except Exception:  # no value, as under vmap or on the meta device: torch says what is wrong
        return size
    return size
