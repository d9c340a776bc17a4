"""Our functions over torch.stft and torch.istft: put in their place, found again, taken out.

Only those two attributes are touched: the Tensor methods and torchaudio arrive through them. torch.functional is the
business of patching/functional_module.py. What the functions do is in patching/entry.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch.jit._builtins import _get_builtin_table, _register_builtin

from ..options import OPS, logger
from ..pending import kept
from . import entry, pickled


class Layer:
    """Our function over one of torch's. Never freed (TorchScript and dynamo know functions by id), but often idle."""

    def __init__(self, op: str, original: Callable) -> None:
        self.op = op
        self.retired = False  # bypassed by a later layer of ours: passes every call through
        self.function = _dress((entry.make_stft if op == "stft" else entry.make_istft)(self, original), op, original)

    @property
    def original(self) -> Callable:
        """What the layer stands in for. Kept where other libraries' layers below it can still be taken out: in the cell
        that the function calls. (`__wrapped__` says the same, but is anybody's to change.)"""
        return _below(self.function)

    def name(self) -> None:
        """Gives the function the name by which pickle finds it."""
        if getattr(torch, self.op) is self.function:
            self.function.__module__, self.function.__qualname__ = "torch", self.op
        else:
            pickled.take_out(self.function)

    def position(self) -> str:
        """Where we are: "installed", "covered" by somebody else's wrapper, or "absent", for all we can see."""
        top = getattr(torch, self.op)
        if top is self.function:
            return "installed"
        if top is torch.functional.stft or top is torch._VF.istft:
            return "absent"
        from . import wrapper_chains

        return "covered" if wrapper_chains.places(self.function, top) else "absent"

    def take_out(self) -> bool:
        """Makes whoever calls the layer call what is below it. False if somebody's reference cannot be changed."""
        if getattr(torch, self.op) is self.function:
            setattr(torch, self.op, self.original)
            return True
        from . import wrapper_chains

        for place in wrapper_chains.places(self.function, getattr(torch, self.op)):
            if place.put is not None:
                try:
                    place.put(self.original)
                except Exception as error:  # read-only, or somebody's __setattr__
                    logger.debug("a reference to our torch.%s stays: %r", self.op, error)
        return self.position() == "absent"


def layers() -> list[Layer]:
    """Every layer that was ever made; at most one of each op is not retired."""
    return list(_layers)


def install(wanted: Collection[str]) -> list[str]:
    """A layer over each of the wanted ops, none over the others. Returns the ops whose layer could not be taken out."""
    for op in OPS:
        _take_off_strays(op)
    stuck = [op for op in OPS if not (_install(op) if op in wanted else _remove(op))]
    for layer in _layers:
        layer.name()
    return stuck


_layers: list[Layer] = kept(__name__, "layers", [])


def _dress(function: Callable, op: str, original: Callable) -> Callable:
    """Makes `function` look like torch's to pickle, inspect, help() and TorchScript."""
    functools.update_wrapper(function, original)
    function.__module__, function.__name__, function.__qualname__ = "torch", op, op  # pickles as torch.stft everywhere
    if isinstance(original, FunctionType):
        function.__prepare_scriptable__ = _Scriptable(function)
    elif isinstance(original, BuiltinFunctionType):
        # Only right for a builtin: as "aten::stft", torch.stft would lose its default center=True.
        _get_builtin_table()
        _register_builtin(function, f"aten::{op}")
    return function


class _Scriptable:
    """Gives TorchScript what a layer stands for, whose source it compiles. functools.wraps() hands this on to wrappers
    of the layer; with slots, patching/wrapper_chains.py does not take it for a reference of theirs that could be
    changed."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self) -> Callable:
        return _below(self._function)


def _below(function: Callable) -> Callable:
    """What a function of patching/entry.py calls."""
    return function.__closure__[function.__code__.co_freevars.index("original")].cell_contents


def _take_off_strays(op: str) -> None:
    """Layers of copies of this package from before it was imported again, whom nobody asks to go any more. Somebody who
    had wrapped one has put it back."""
    known = [layer.function for layer in _layers]
    while _is_of_a_copy(top := getattr(torch, op)) and not any(top is one for one in known):
        setattr(torch, op, _below(top))


def _is_of_a_copy(function: Any) -> bool:
    return type(function) is FunctionType and function.__globals__.get("__name__") == entry.__name__


def _install(op: str) -> bool:
    top = getattr(torch, op)
    known = [layer for layer in _layers if layer.op == op]
    if any(not layer.retired and layer.position() != "absent" for layer in known):
        return True
    layer = next((layer for layer in known if top is layer.original or top is layer.function), None)
    if layer is None:
        layer = Layer(op, top)
        _layers.append(layer)
    for other in known:  # they may still be reached through wrappers that hide what they wrap
        other.retired = other is not layer
    layer.retired = False
    from . import dynamo

    dynamo.teach((layer.function, layer.original) for layer in _layers)
    setattr(torch, op, layer.function)
    return True


def _remove(op: str) -> bool:
    return all([layer.take_out() for layer in reversed(_layers) if layer.op == op])
