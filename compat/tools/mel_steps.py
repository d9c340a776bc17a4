"""The steps of a mel function: from what is known of their arguments (mel_notes.py), what is known of the result.

Each gives a note, or the value itself; None where it is no such step. Their parameters are those of torch.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ...execution import torch_warnings
from ...front_ends import Scale
from .mel_notes import Note, Signal, is_plain


def _from(what: str, then: str) -> Callable[[Note], Note | None]:
    return lambda input: input.but(what=then) if input.what == what else None


def _unsqueeze(input, dim):
    return input.but(what="channel") if input.what == "signal" and input.signal.tensor.dim() == 2 == dim + 1 else None


def _pad(input, pad, mode="constant", value=None):
    if input.what == "signal" and mode == "constant":
        return _signal(input, torch.nn.functional.pad(input.signal.tensor, pad, mode, value))
    left, right = pad
    usual = input.what == "channel" and mode == "reflect" and value is None and type(left) is int and left == right
    fits = usual and 0 <= left < input.signal.tensor.shape[1]
    return input.but(what="padded channel", pad=left) if fits else None


def _signal(input: Note, tensor: Tensor) -> Note | None:
    """Another signal made of that one."""
    fits = tensor.dim() < 3 and tensor.numel()
    return Note({"what": "signal", "signal": Signal(input.signal.name, tensor)}) if fits else None


def _getitem(input, key):
    if input.what == "signal":
        return _signal(input, input.signal.tensor[key])
    fits = input.what == "spectrum" and not input.dropped and key == (..., slice(None, -1))
    return input.but(dropped=1) if fits else None


def _squeeze(input, dim):
    return input.but(what="padded") if input.what == "padded channel" and dim == 1 else None


def _stft(
    input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect", normalized=False,
    onesided=None, return_complex=None, align_to_window=None,
):  # fmt: skip
    sizes = n_fft, n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    types = [*map(type, (*sizes, center, return_complex))]
    if input.what not in ("signal", "padded") or types != [int, int, int, bool, bool]:
        return None
    if normalized is not False or onesided not in (None, True) or align_to_window or (center and pad_mode != "reflect"):
        return None
    if not is_plain(input.signal.tensor, window):
        return None
    if not return_complex:
        torch_warnings.give(("real_output",))
    return input.but(what="spectrum" if return_complex else "pairs", sizes=sizes, window=window, center=center)


def _power_of(input, exponent):
    if type(exponent) not in (int, float) or exponent != 2:
        return None
    if input.what == "magnitude" and not input.eps:
        return input.but(what="power")  # of the spectrum's abs()
    return input.but(what=f"{input.what} squared") if input.what in ("pairs", "real", "imaginary") else None


def _sum(input, dim):
    return input.but(what="power", by_rows=True) if input.what == "pairs squared" and dim == -1 else None


def _add(input, other):
    if type(input) is type(other) is Note:
        both_parts = {input.what, other.what} == {"real squared", "imaginary squared"}
        return input.but(what="power") if both_parts and input.is_beside(other) else None
    note, number = (input, other) if type(input) is Note else (other, input)
    if note.what == "limited" and type(number) in (int, float):
        return _after(note, 1.0, float(number))
    fits = note.what == "power" and not note.eps and type(number) in (int, float) and number >= 0
    return note.but(eps=float(number)) if fits else None


def _sqrt(input):
    return input.but(what="magnitude", root=True) if input.what == "power" else None


def _matmul(input, other):
    """input: the filterbank."""
    if type(input) is Note or other.what not in ("magnitude", "power") or not is_plain(other.signal.tensor, input):
        return None
    fits = input.dim() == 2 and input.shape[1] == other.sizes[0] // 2 + 1 and not input.requires_grad
    kind = input.device.type
    halved = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) != torch.float32
    power = 1.0 if other.what == "magnitude" else 2.0
    return other.but(what="bands", basis=input, power=power) if fits and not halved else None


def _clamp(input, min=None, max=None):
    fits = input.what == "bands" and max is None and type(min) in (int, float) and min > 0
    return input.but(what="clamped", scale=_clamped(float(min))) if fits else None


def _log(factor: float) -> Callable[[Note], Note | None]:
    def step(input):
        if input.what != "clamped":
            return None
        return input.but(what="log", scale=_changed(input.scale, factor=factor))

    return step


def _max(input):
    return {"signal": input.but(what="largest"), "log": input.but(what="top")}.get(input.what)


def _maximum(input, other):
    of_one = input.what == "log" and other.what == "floor" and input.is_beside(other)
    fits = of_one and _changed(other.scale, below=None, scope=input.scale.scope) == input.scale
    return other.but(what="limited") if fits else None


def _minus(input, other):
    if input.what != "top" or type(other) not in (int, float) or not other >= 0:
        return None
    return input.but(what="floor", scale=_changed(input.scale, below=float(other), scope="all"))


def _times(input, other):
    if type(other) not in (int, float):
        return None
    if input.what == "limited":
        return _after(input, float(other), 0.0)
    return input if input.what == "clamped" and other == 1 else None


def _after(input: Note, factor: float, offset: float) -> Note:
    scale = input.scale
    return input.but(
        scale=_changed(
            scale, after_factor=scale.after_factor * factor, after_offset=scale.after_offset * factor + offset
        )
    )


def _divided(input, other):
    return _times(input, 1 / other) if input.what == "limited" and type(other) in (int, float) and other else None


def _to(input, *args, **kwargs):
    """Where it gives the same tensor."""
    own = input.signal.device, dtype_of(input)
    wanted = [*args, *(kwargs.pop(name) for name in ("device", "dtype") if name in kwargs)]
    same = all(own[1] == one if isinstance(one, torch.dtype) else own[0] == _device_of(one) for one in wanted)
    return input if same and not kwargs else None


def _device_of(name: Any) -> torch.device:
    return torch.empty(0, dtype=torch.float32, device=name).device  # which device "cuda" is depends on the moment


def _type_as(input, other):
    return None if type(input) is Note else input.to(other.signal.device, dtype_of(other))


def dtype_of(input: Note) -> torch.dtype:
    return torch.complex64 if input.what == "spectrum" else torch.float32


def _compared(compare: Callable[[float, float], bool]) -> Callable:
    def step(input, other):
        if input.what not in ("least", "largest") or type(other) not in (int, float):
            return None
        return compare(input.signal.limits()[input.what == "largest"], other)

    return step


@lru_cache(maxsize=1024)
def _clamped(least: float) -> Scale:
    return Scale("clamp", least)


@lru_cache(maxsize=1024)
def _changed(scale: Scale, **fields: Any) -> Scale:
    return replace(scale, **fields)


_BY_NAME: dict[str, Callable] = {
    "unsqueeze": _unsqueeze, "pad": _pad, "squeeze": _squeeze, "to": _to, "type_as": _type_as,
    "view_as_real": _from("spectrum", "pairs"), "abs": _from("spectrum", "magnitude"),
    "real": _from("spectrum", "real"), "imag": _from("spectrum", "imaginary"),
    "pow": _power_of, "__pow__": _power_of, "pow_": _power_of, "square": lambda input: _power_of(input, 2),
    "sum": _sum, "add": _add, "add_": _add, "sqrt": _sqrt, "sqrt_": _sqrt,
    "matmul": _matmul, "clamp": _clamp, "mul": _times, "log": _log(1.0), "log10": _log(1 / math.log(10)),
    "min": _from("signal", "least"), "max": _max, "maximum": _maximum, "sub": _minus, "div": _divided,
    "__getitem__": _getitem, "lt": _compared(operator.lt), "gt": _compared(operator.gt),
}  # fmt: skip
_OPERATORS = {"__add__": _add, "__sub__": _minus, "__mul__": _times, "__truediv__": _divided,
              "__lt__": _compared(operator.lt), "__gt__": _compared(operator.gt)}  # fmt: skip


def _functions() -> Iterator[tuple[Callable, Callable]]:
    for name, step in _BY_NAME.items():
        for home in (torch, Tensor, torch.nn.functional):
            found = getattr(home, name, None)
            if found is not None:
                yield (found if callable(found) else found.__get__), step
    yield from ((torch.functional.stft, _stft), (Tensor.stft, _stft))


# By function of torch.
STEPS = dict(_functions())
# By name, those that are methods of a tensor.
METHODS = {name: step for name, step in (_BY_NAME | _OPERATORS).items() if callable(getattr(Tensor, name, None))}
