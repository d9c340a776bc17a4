"""Runs somebody's mel function with a stand-in for its signal. Steps that lead to a mel spectrogram are only noted, and
at the end they are one launch. All else that the function does, keeps, looks up and prints is its own.

Whatever else is done with a stand-in is done with the tensor that it stands for, made by the function's own calls of
torch. So another formula has its own result, and is only no faster.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.compiler import is_compiling
from torch.overrides import TorchFunctionMode

from ...execution import call_cache
from ...front_ends import FrontEnd, Scale, compute, remembered
from ...kernels import bases
from ...tensors import STAND_INS, wants_gradient
from . import copies
from .mel_notes import Note, Signal, is_plain
from .mel_steps import METHODS, STEPS, dtype_of


class Deferred(Tensor):
    """The stand-in: note says for what, compute() makes that by the function's own steps."""

    note: Note | None
    compute: Callable[[], Tensor]
    value: Tensor | None = None
    is_used: bool = False  # by the steps of another one

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return _answer(function, STEPS.get(function), args, kwargs or {})


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


def run(function: Callable, name: str, args: tuple, kwargs: dict) -> Any:
    """function(*args, **kwargs), or None where it had better run without us."""
    if is_compiling() or not call_cache.is_plain_eager():
        return None
    given = [*args, *kwargs.values()]
    place = next(i for i, one in enumerate(given) if isinstance(one, Tensor))
    tensor = given[place]
    if not is_plain(tensor) or not 0 < tensor.dim() < 3 or not tensor.numel():
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


@remembered
def _call(
    n_fft: int, hop_length: int, win_length: int, center: bool, edges: int, dropped: int, power: float, eps: float,
    scale: Scale, contiguous: bool,
) -> FrontEnd:  # fmt: skip
    return FrontEnd(
        n_fft, hop_length, win_length, center, power=power, eps=eps, dropped=dropped, scale=scale, edges=edges,
        contiguous=contiguous,
    )  # fmt: skip


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


for _name, _step in METHODS.items():
    setattr(Deferred, _name, _method(_name, _step))
Deferred.device = _attribute("device", lambda note: note.signal.device)
Deferred.dtype = _attribute("dtype", dtype_of)
Deferred.shape = _attribute("shape", lambda note: note.signal.tensor.shape if note.what == "signal" else None)
