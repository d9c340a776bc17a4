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
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.compiler import is_compiling
from torch.overrides import TorchFunctionMode

from ...execution import call_cache, torch_warnings
from ...front_ends import FrontEnd, Scale, compute, remembered
from ...kernels import bases
from ...tensors import PLAIN, STAND_INS, wants_gradient
from . import copies


class Signal:
    """What a call of the function is given. name: under which its launch is counted."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        self.name, self.tensor, self.device = name, tensor, tensor.device
        self._limits: tuple[float, float] | None = None

    def limits(self) -> tuple[float, float]:
        """Its least and its largest sample, for which the device is waited for once."""
        if self._limits is None:
            with torch._C.DisableTorchFunction():
                self._limits = tuple(_extremes(self.tensor.detach()).tolist())
        return self._limits


class Note:
    """What a stand-in stands for.

    what: "signal"; "channel", "padded channel" and "padded": on its way through F.pad; "least" or "largest" sample;
    "spectrum"; its "pairs", "real" and "imaginary" parts, and the "... squared" of these; "power", their sum;
    "magnitude"; "bands" of the filterbank; "clamped"; "log"; "top", its largest value; "floor", something below that;
    "limited" by the floor.
    """

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

    def __init__(self, fields: dict[str, Any]) -> None:
        """fields: what, signal, and those that are not as above."""
        self.__dict__ = fields

    def but(self, **changes: Any) -> Note:
        return Note(self.__dict__ | changes)

    def is_beside(self, other: Note) -> bool:
        """Whether only what they stand for, and at which scale, is different."""
        return all(
            getattr(self, name) is getattr(other, name)
            for name in self.__dict__.keys() | other.__dict__.keys()
            if name not in ("what", "scale")
        )


class Deferred(Tensor):
    """The stand-in: note says for what, compute() makes that by the function's own steps."""

    note: Note | None
    compute: Callable[[], Tensor]
    value: Tensor | None = None
    is_used: bool = False  # by the steps of another one

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return _answer(function, _STEPS.get(function), args, kwargs or {})


STAND_INS.add(Deferred)
_modes = torch._C._len_torch_function_stack


def _answer(function: Callable, step: Callable | None, args: tuple, kwargs: dict) -> Any:
    """function(*args, **kwargs), or a stand-in for it. This runs in every step of the function: no loop is hidden."""
    given, mine = [], []
    for one in args:
        if type(one) is Deferred:
            mine.append(one)
            one = one.note
            if one is None:
                step = None
        given.append(one)
    writes = _is_in_place(function) or "out" in kwargs
    if writes and any(one.is_used or _is_signal(one) for one in mine):
        raise _Unforeseen
    if function is torch.functional.stft:
        function = torch.stft  # which may be fast
    found = None
    if step is not None:
        try:
            found = step(*given, **kwargs)
        except (TypeError, AttributeError):  # arguments that the step does not have, or of other kinds
            found = None
    if found is None:
        if _modes():  # this came by a shorter way than torch's, which switches _Copies off
            return function(*args, **kwargs)
        return function(*_real(args), **_real(kwargs))
    if type(found) is not Note:
        return found
    if writes:
        return _written(mine[0], found, function, args[1:], kwargs)
    for one in mine:
        one.is_used = True
    made = _stand_in(found, lambda: function(*_real(args), **kwargs))
    if found.what == "signal":
        made.value = found.signal.tensor
    return made


class _Unforeseen(Exception):
    """The function does something by which a note would become wrong."""


def _extremes(signal: Tensor) -> Tensor:
    """[2] on the CPU: the least and the largest of its numbers. The device looks at rows of them: all at once would be
    two launches."""
    count = signal.numel()
    has_rows = signal.is_contiguous() and not count % _ROW and count <= _ROW * _ROWS_MAX
    both = torch.empty((2, count // _ROW) if has_rows else 2, dtype=torch.float32, device=signal.device)
    if has_rows:
        torch.aminmax(signal.view(-1, _ROW), dim=1, out=(both[0], both[1]))
    else:
        torch.aminmax(signal, out=(both[0], both[1]))
    return torch.stack(torch.aminmax(both.cpu()))


_ROW, _ROWS_MAX = 1024, 4096


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
    signal = Signal(name, tensor)
    given[place] = _stand_in(Note({"what": "signal", "signal": signal}), lambda: tensor)
    args, kwargs = tuple(given[: len(args)]), dict(zip(kwargs, given[len(args) :], strict=True))
    try:
        if not _makes_bands.get(name):
            return _real(function(*args, **kwargs))
        with _Copies(name) as seen:
            result = function(*args, **kwargs)
        _makes_bands[name] = seen.noted
        return _real(result)
    except _Unforeseen:
        return None


# By name, functions whose filterbank was not known when it was needed: whether they copied it from the CPU in the last
# call. HiFi-GAN's own does so in every call.
_makes_bands: dict[str, bool] = {}


class _Copies(TorchFunctionMode):
    """While it is on, a filterbank that is copied from the CPU is known by what was copied: it need not be read back.
    Where the same was copied before, nothing is. It makes the function's other calls of torch a little longer."""

    noted = False

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if Deferred in types:
            return Deferred.__torch_function__(function, types, args, kwargs)
        if function is not Tensor.to or len(args) != 2 or kwargs or not copies.is_one(args[0]):
            return function(*args, **(kwargs or {}))  # what "non_blocking" copies may not be there yet
        source = args[0]
        result = copies.find(self.name, *args)
        if result is None:
            result = function(*args)
            if result is source or type(result) is not Tensor or result.dtype is not source.dtype:
                return result
            copies.keep(self.name, source, result)
            if source.dim() == 2:
                bases.learn(result, source)
        self.noted |= source.dim() == 2
        return result


def _stand_in(note: Note, compute: Callable[[], Tensor]) -> Deferred:
    made = Tensor._make_subclass(Deferred, _NOTHING)
    made.note, made.compute = note, compute
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


def _written(one: Deferred, note: Note, function: Callable, args: tuple, kwargs: dict) -> Deferred:
    """The same stand-in, after a step in place."""
    before = _stand_in(one.note, one.compute)
    one.note, one.compute = note, lambda: function(_real(before), *args, **kwargs)
    return one


@lru_cache(maxsize=1024)
def _is_in_place(function: Callable) -> bool:
    """Whether it writes into its first argument."""
    name = getattr(function, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or name in ("__setitem__", "__set__") or name.startswith("__i")


def _launched(note: Note) -> Tensor | None:
    """What the note says, in one launch, or two with a floor."""
    if note.what not in ("power", "magnitude", "bands", "log", "limited"):
        return None
    signal, edges = note.signal.tensor, note.pad
    if note.root and not note.eps and wants_gradient(signal, note.window):
        return None
    if note.center and edges:
        signal, edges = torch.nn.functional.pad(signal.unsqueeze(1), (edges, edges), "reflect").squeeze(1), 0
    if note.basis is not None and bases.find(note.basis) is None:
        _makes_bands.setdefault(note.signal.name, True)
    power = 2.0 if note.what == "power" else note.power
    # As torch's tensor lies in memory: somebody may view it. Of one frame, it is contiguous.
    n_fft, hop_length, _ = note.sizes
    padded = signal.shape[-1] + 2 * (n_fft // 2 if note.center else edges)
    contiguous = note.by_rows or note.basis is not None or padded < n_fft + (1 + note.dropped) * hop_length
    call = _call(*note.sizes, note.center, edges, note.dropped, power, note.eps, note.scale, contiguous)
    return compute.try_fused(signal, note.window, note.basis, call, note.signal.name)


@lru_cache(maxsize=1024)
def _clamped(least: float) -> Scale:
    return Scale("clamp", least)


@lru_cache(maxsize=1024)
def _changed(scale: Scale, **fields: Any) -> Scale:
    return replace(scale, **fields)


@remembered
def _call(
    n_fft: int, hop_length: int, win_length: int, center: bool, edges: int, dropped: int, power: float, eps: float,
    scale: Scale, contiguous: bool,
) -> FrontEnd:  # fmt: skip
    return FrontEnd(
        n_fft, hop_length, win_length, center, power=power, eps=eps, dropped=dropped, scale=scale, edges=edges,
        contiguous=contiguous,
    )  # fmt: skip


def _is_plain(*tensors: Any) -> bool:
    """Whether all are float32 as a kernel reads it, on one device."""
    for one in tensors:
        if type(one) not in PLAIN or one.dtype is not torch.float32 or one.layout is not torch.strided:
            return False
        if one.is_neg() or one.device != tensors[0].device:
            return False
    return True


# --- The steps: the note, or the value, that one gives. None: it is none. Their parameters are those of torch.


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
    if not _is_plain(input.signal.tensor, window):
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
    if type(input) is Note or other.what not in ("magnitude", "power") or not _is_plain(other.signal.tensor, input):
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
    own = input.signal.device, _dtype(input)
    wanted = [*args, *(kwargs.pop(name) for name in ("device", "dtype") if name in kwargs)]
    same = all(own[1] == one if isinstance(one, torch.dtype) else own[0] == _device_of(one) for one in wanted)
    return input if same and not kwargs else None


def _device_of(name: Any) -> torch.device:
    return torch.empty(0, dtype=torch.float32, device=name).device  # which device "cuda" is depends on the moment


def _type_as(input, other):
    return None if type(input) is Note else input.to(other.signal.device, _dtype(other))


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


_STEPS = dict(_functions())


# What follows takes the way of __torch_function__ too, only shorter: torch's own way there takes as long as a step.


def _method(name: str, step: Callable) -> Callable:
    own = getattr(Tensor, name)

    return lambda self, *args, **kwargs: _answer(own, step, (self, *args), kwargs)


def _attribute(name: str, step: Callable[[Note], Any]) -> property:
    own = getattr(Tensor, name)

    def read(one: Deferred) -> Any:
        found = None if one.note is None else step(one.note)
        return own.__get__(one) if found is None else found

    return property(read)


_OPERATORS = {"__add__": _add, "__sub__": _minus, "__mul__": _times, "__truediv__": _divided,
              "__lt__": _compared(operator.lt), "__gt__": _compared(operator.gt)}  # fmt: skip
for _name, _step in (_BY_NAME | _OPERATORS).items():
    if callable(getattr(Tensor, _name, None)):
        setattr(Deferred, _name, _method(_name, _step))
Deferred.device = _attribute("device", lambda note: note.signal.device)
Deferred.dtype = _attribute("dtype", _dtype)
Deferred.shape = _attribute("shape", lambda note: note.signal.tensor.shape if note.what == "signal" else None)
