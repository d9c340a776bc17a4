"""Replaces somebody else's function with one of ours for the calls that ours does; the original gets all others."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch

from ...execution import runner, trouble

_originals: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # by what was made for it
Replacement = Callable[..., "torch.Tensor | None"]


def override(replacement: Replacement, finish: Callable | None = None) -> Callable[[Callable, Callable], Callable]:
    """A maker for patching/hooks.py.

    replacement(*the call's arguments) is called if the first tensor among them is on an accelerated device of the code
    that calls. Where it returns None, or fails, the original runs. finish(original, what it returned, *arguments): the
    rest of the call, whose errors are the program's. TorchScript sees the original.
    """
    return lambda original, active_options: _wrapper(original, active_options, replacement, finish)


def _wrapper(
    original: Callable, active_options: Callable, replacement: Replacement, finish: Callable | None
) -> Callable:
    def replaced(*args: Any, **kwargs: Any) -> tuple[Any, trouble.Trouble | None]:
        options = None
        try:
            options = active_options()
            if options is None or torch._C._get_tracing_state() is not None:
                return None, None
            signal = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
            if signal is None or signal.device.type not in options.device_types:
                return None, None
            return replacement(*args, **kwargs), None
        except Exception as error:
            if isinstance(error, TypeError) and not _fits(replacement, args, kwargs):
                return None, None  # wrong arguments: the original says so in its own words
            if runner.goes_on(options, error):
                raise
            return None, trouble.trouble_of(error)

    give_up = trouble.give_up  # the wrapper has the original's globals, and not these

    def wrapper(*args, **kwargs):
        result, failure = replaced(*args, **kwargs)
        if result is not None:
            return result if finish is None else finish(original, result, *args, **kwargs)
        result = original(*args, **kwargs)
        if failure is not None:
            give_up(original.__qualname__, failure)
        return result

    # TorchScript reads a function's globals as well as its source.
    twin = FunctionType(wrapper.__code__, original.__globals__, wrapper.__name__, None, wrapper.__closure__)
    _originals[twin] = original
    return functools.update_wrapper(twin, original)


def original_of(function: Callable) -> Callable:
    """The project's own function, where the one that override() made for it stands; else the function itself."""
    return _originals.get(function, function)


def _fits(function: Callable, args: tuple, kwargs: dict) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True
