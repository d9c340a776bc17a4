"""Runs somebody's mel function with a stand-in for its signal. Steps that lead to a mel spectrogram are only noted, and
at the end they are one launch. All else that the function does, keeps, looks up and prints is its own.

Whatever else is done with a stand-in is done with the tensor that it stands for, made by the function's own calls of
torch. So another formula has its own result, and is only no faster.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.compiler import is_compiling

from ...execution import call_cache, torch_warnings
from ...front_ends import FrontEnd, Scale, compute, remembered
from ...tensors import PLAIN, STAND_INS, wants_gradient


class Signal:
    """What a call of the function is given. name: under which its launch is counted."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        self.name, self.tensor = name, tensor
        self._limits: tuple[float, float] | None = None

    def limits(self) -> tuple[float, float]:
        """Its least and its largest sample, for which the device is waited for once."""
        if self._limits is None:
            self._limits = tuple(torch.stack(torch.aminmax(self.tensor.detach())).tolist())
        return self._limits


class Note(NamedTuple):
    """What a stand-in stands for.

    what: "signal"; "channel", "padded channel" and "padded": on its way through F.pad; "least" or "largest" sample;
    "spectrum"; its "pairs", "real" and "imaginary" parts, and the "... squared" of these; "power", their sum;
    "magnitude"; "bands" of the filterbank; "clamped"; "log"; "top", its largest value; "floor", something below that;
    "limited" by the floor.
    """

    what: str
    signal: Signal
    pad: int = 0  # samples reflected at either end
    sizes: tuple[int, int, int] = (0, 0, 0)  # n_fft, hop_length, win_length
    window: Tensor | None = None
    center: bool = False
    dropped: int = 0  # frames at the end
    power: float = 1.0
    eps: float = 0.0
    root: bool = False  # the magnitude is a root, with an infinite gradient at 0
    basis: Tensor | None = None
    scale: Scale = Scale()
    by_rows: bool = False  # in torch's tensor, the frames of a bin are side by side


class Deferred(Tensor):
    """The stand-in: note says for what, compute() makes that by the function's own steps."""

    note: Note | None
    compute: Callable[[], Tensor]
    value: Tensor | None
    is_used: bool  # by the steps of another one

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        mine = [one for one in args if type(one) is Deferred]
        step, writes = _STEPS.get(function), _writes(function, kwargs)
        if function is torch.functional.stft:
            function = torch.stft  # which may be fast
        if writes and any(one.is_used or _is_signal(one) for one in mine):
            raise _Unforeseen
        found = None if step is None else _noted(step, args, kwargs)
        if not isinstance(found, Note):
            return function(*_real(args), **_real(kwargs)) if found is None else found
        if writes:
            return _written(mine[0], found, function, args[1:], kwargs)
        for one in mine:
            one.is_used = True
        made = _stand_in(found, lambda: function(*_real(args), **kwargs))
        made.value = found.signal.tensor if found.what == "signal" else None
        return made


STAND_INS.add(Deferred)


class _Unforeseen(Exception):
    """The function does something by which a note would become wrong."""


def run(function: Callable, name: str, args: tuple, kwargs: dict) -> Any:
    """function(*args, **kwargs), or None where it had better run without us."""
    if is_compiling() or not call_cache.is_plain_eager():
        return None
    given = [*args, *kwargs.values()]
    place = next(i for i, one in enumerate(given) if isinstance(one, Tensor))
    tensor = given[place]
    if not _is_plain(tensor) or not 0 < tensor.dim() < 3 or not tensor.numel():
        return None
    if torch.is_autocast_enabled(tensor.device.type):
        return None
    given[place] = _stand_in(Note("signal", Signal(name, tensor)), lambda: tensor)
    try:
        return _real(function(*given[: len(args)], **dict(zip(kwargs, given[len(args) :], strict=True))))
    except _Unforeseen:
        return None


def _stand_in(note: Note, compute: Callable[[], Tensor]) -> Deferred:
    made = Tensor._make_subclass(Deferred, _NOTHING)
    made.note, made.compute, made.value, made.is_used = note, compute, None, False
    return made


with unset_fake_temporarily(), torch.inference_mode(False):  # whatever is going on where this is imported
    _NOTHING = torch.empty(0, dtype=torch.float32, device="meta")


def _real(value: Any) -> Any:
    """Stand-ins, also in lists, tuples and dictionaries, become what they stand for. After that, nothing is noted of
    them: the tensor may be changed."""
    if type(value) is Deferred:
        if value.value is None:
            launched = None if value.note is None else _launched(value.note)
            value.value = value.compute() if launched is None else launched
        if not _is_signal(value):
            value.note = None
        return value.value
    if type(value) in (tuple, list):
        return type(value)(map(_real, value))
    return {key: _real(one) for key, one in value.items()} if type(value) is dict else value


def _is_signal(one: Deferred) -> bool:
    return one.note is not None and one.note.what == "signal"


def _noted(step: Callable, args: tuple, kwargs: dict) -> Any:
    """What the step says: a Note, a value of its own, or None."""
    if any(type(one) is Deferred and one.note is None for one in args):
        return None
    try:
        return step(*(one.note if type(one) is Deferred else one for one in args), **kwargs)
    except (TypeError, AttributeError):  # arguments that the step does not have, or of other kinds
        return None


def _written(one: Deferred, note: Note, function: Callable, args: tuple, kwargs: dict) -> Deferred:
    """The same stand-in, after a step in place."""
    before = _stand_in(one.note, one.compute)
    one.note, one.compute = note, lambda: function(_real(before), *args, **kwargs)
    return one


def _writes(function: Callable, kwargs: dict) -> bool:
    """Whether it writes into its first argument."""
    name = getattr(function, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or name in ("__setitem__", "__set__") or name.startswith("__i") or "out" in kwargs


def _launched(note: Note) -> Tensor | None:
    """What the note says, in one launch, or two with a floor."""
    if note.what not in ("power", "magnitude", "bands", "log", "limited"):
        return None
    signal, edges = note.signal.tensor, note.pad
    if note.root and not note.eps and wants_gradient(signal, note.window):
        return None
    if note.center and edges:
        signal, edges = torch.nn.functional.pad(signal.unsqueeze(1), (edges, edges), "reflect").squeeze(1), 0
    power = 2.0 if note.what == "power" else note.power
    call = _call(*note.sizes, note.center, edges, note.dropped, power, note.eps, note.scale)
    result = compute.try_fused(signal, note.window, note.basis, call, note.signal.name)
    # As torch's tensor lies in memory: somebody may view it.
    return result.contiguous() if result is not None and (note.by_rows or note.basis is not None) else result


@remembered
def _call(
    n_fft: int, hop_length: int, win_length: int, center: bool, edges: int, dropped: int, power: float, eps: float,
    scale: Scale,
) -> FrontEnd:  # fmt: skip
    return FrontEnd(
        n_fft, hop_length, win_length, center, power=power, eps=eps, dropped=dropped, scale=scale, edges=edges
    )  # fmt: skip


def _is_plain(*tensors: Any) -> bool:
    """Whether all are float32 as a kernel reads it, on one device."""
    return all(
        type(one) in PLAIN and one.dtype is torch.float32 and one.layout is torch.strided and not one.is_neg()
        and one.device == tensors[0].device
        for one in tensors
    )  # fmt: skip


# --- The steps: the note, or the value, that one gives. None: it is none. Their parameters are those of torch.


def _from(what: str, then: str) -> Callable[[Note], Note | None]:
    return lambda input: input._replace(what=then) if input.what == what else None


def _unsqueeze(input, dim):
    return (
        input._replace(what="channel") if input.what == "signal" and input.signal.tensor.dim() == 2 == dim + 1 else None
    )


def _pad(input, pad, mode="constant", value=None):
    if input.what == "signal" and mode == "constant":
        return _signal(input, torch.nn.functional.pad(input.signal.tensor, pad, mode, value))
    left, right = pad
    usual = input.what == "channel" and mode == "reflect" and value is None and type(left) is int and left == right
    fits = usual and 0 <= left < input.signal.tensor.shape[1]
    return input._replace(what="padded channel", pad=left) if fits else None


def _signal(input: Note, tensor: Tensor) -> Note | None:
    """Another signal made of that one."""
    return Note("signal", Signal(input.signal.name, tensor)) if tensor.dim() < 3 and tensor.numel() else None


def _getitem(input, key):
    if input.what == "signal":
        return _signal(input, input.signal.tensor[key])
    fits = input.what == "spectrum" and not input.dropped and key == (..., slice(None, -1))
    return input._replace(dropped=1) if fits else None


def _squeeze(input, dim):
    return input._replace(what="padded") if input.what == "padded channel" and dim == 1 else None


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
    if not _is_plain(input.signal.tensor, window):
        return None
    if not return_complex:
        torch_warnings.give(("real_output",))
    return input._replace(what="spectrum" if return_complex else "pairs", sizes=sizes, window=window, center=center)


def _power_of(input, exponent):
    if type(exponent) not in (int, float) or exponent != 2:
        return None
    if input.what == "magnitude" and not input.eps:
        return input._replace(what="power")  # of the spectrum's abs()
    return input._replace(what=f"{input.what} squared") if input.what in ("pairs", "real", "imaginary") else None


def _sum(input, dim):
    return input._replace(what="power", by_rows=True) if input.what == "pairs squared" and dim == -1 else None


def _add(input, other):
    if type(input) is type(other) is Note:
        both_parts = {input.what, other.what} == {"real squared", "imaginary squared"}
        of_one = all(map(operator.is_, input[1:], other[1:]))
        return input._replace(what="power") if both_parts and of_one else None
    note, number = (input, other) if type(input) is Note else (other, input)
    if note.what == "limited" and type(number) in (int, float):
        return _after(note, 1.0, float(number))
    fits = note.what == "power" and not note.eps and type(number) in (int, float) and number >= 0
    return note._replace(eps=float(number)) if fits else None


def _sqrt(input):
    return input._replace(what="magnitude", root=True) if input.what == "power" else None


def _matmul(input, other):
    """input: the filterbank."""
    if type(input) is Note or other.what not in ("magnitude", "power") or not _is_plain(other.signal.tensor, input):
        return None
    fits = input.dim() == 2 and input.shape[1] == other.sizes[0] // 2 + 1 and not input.requires_grad
    kind = input.device.type
    halved = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) != torch.float32
    power = 1.0 if other.what == "magnitude" else 2.0
    return other._replace(what="bands", basis=input, power=power) if fits and not halved else None


def _clamp(input, min=None, max=None):
    fits = input.what == "bands" and max is None and type(min) in (int, float) and min > 0
    return input._replace(what="clamped", scale=Scale("clamp", float(min))) if fits else None


def _log(factor: float) -> Callable[[Note], Note | None]:
    def step(input):
        if input.what != "clamped":
            return None
        return input._replace(what="log", scale=Scale("clamp", input.scale.amin, factor))

    return step


def _max(input):
    return {"signal": input._replace(what="largest"), "log": input._replace(what="top")}.get(input.what)


def _maximum(input, other):
    of_one = input.what == "log" and other.what == "floor" and all(map(operator.is_, input[1:-2], other[1:-2]))
    fits = of_one and replace(other.scale, below=None, scope=input.scale.scope) == input.scale
    return other._replace(what="limited") if fits else None


def _minus(input, other):
    if input.what != "top" or type(other) not in (int, float) or not other >= 0:
        return None
    return input._replace(what="floor", scale=replace(input.scale, below=float(other), scope="all"))


def _times(input, other):
    if type(other) not in (int, float):
        return None
    if input.what == "limited":
        return _after(input, float(other), 0.0)
    return input if input.what == "clamped" and other == 1 else None


def _after(input: Note, factor: float, offset: float) -> Note:
    scale = input.scale
    factors = dict(after_factor=scale.after_factor * factor, after_offset=scale.after_offset * factor + offset)
    return input._replace(scale=replace(scale, **factors))


def _divided(input, other):
    return _times(input, 1 / other) if input.what == "limited" and type(other) in (int, float) and other else None


def _to(input, *args, **kwargs):
    """Where it gives the same tensor."""
    own = input.signal.tensor.device, _dtype(input)
    wanted = [*args, *(kwargs.pop(name) for name in ("device", "dtype") if name in kwargs)]
    same = all(own[1] == one if isinstance(one, torch.dtype) else own[0] == _device_of(one) for one in wanted)
    return input if same and not kwargs else None


def _device_of(name: Any) -> torch.device:
    return torch.empty(0, dtype=torch.float32, device=name).device  # which device "cuda" is depends on the moment


def _type_as(input, other):
    return None if type(input) is Note else input.to(other.signal.tensor.device, _dtype(other))


def _dtype(input) -> torch.dtype:
    return torch.complex64 if input.what == "spectrum" else torch.float32


def _compared(compare: Callable[[float, float], bool]) -> Callable:
    def step(input, other):
        if input.what not in ("least", "largest") or type(other) not in (int, float):
            return None
        return compare(input.signal.limits()[input.what == "largest"], other)

    return step


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


def _functions() -> Iterator[tuple[Callable, Callable]]:
    for name, step in _BY_NAME.items():
        for home in (torch, Tensor, torch.nn.functional):
            found = getattr(home, name, None)
            if found is not None:
                yield (found if callable(found) else found.__get__), step
    yield from ((torch.functional.stft, _stft), (Tensor.stft, _stft))
    yield Tensor.device.__get__, lambda input: input.signal.tensor.device
    yield Tensor.dtype.__get__, _dtype


_STEPS = dict(_functions())
