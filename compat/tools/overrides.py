"""Replaces somebody else's function with one of ours for the calls that ours does; the original gets all others."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch

from ...execution import runner, trouble

Replacement = Callable[..., "torch.Tensor | tuple | None"]
_originals: WeakKeyDictionary[Callable, Callable] = WeakKeyDictionary()  # by what override() made of them


def override(
    replacement: Replacement, finish: Callable | None = None, signal_of: Callable | None = None
) -> Callable[[Callable, Callable], Callable]:
    """A maker for patching/hooks.py.

    replacement(*the call's arguments) is called if the first tensor among them is on an accelerated device of the code
    that calls; or the one that signal_of(*arguments) finds. Where it returns None, or fails, the original runs.
    finish(original, what it returned, *arguments): the rest of the call, whose errors are the program's. TorchScript
    sees the original.
    """
    return lambda original, active_options: _wrapper(original, active_options, replacement, finish, signal_of)


def _wrapper(
    original: Callable, active_options: Callable, replacement: Replacement, finish: Callable | None,
    signal_of: Callable | None,
) -> Callable:  # fmt: skip
    def replaced(*args: Any, **kwargs: Any) -> tuple[Any, trouble.Trouble | None]:
        options = None
        try:
            options = active_options()
            if options is None or torch._C._get_tracing_state() is not None:
                return None, None
            if signal_of is not None:
                signal = signal_of(*args, **kwargs)
            else:  # a list, as dynamo of torch 2.7 knows no next() with a default
                signal = [*(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None][0]
            if not isinstance(signal, torch.Tensor) or signal.device.type not in options.device_types:
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


def original_of(function: Any) -> Any:
    """What stands below a function that override() made; of anything else, itself."""
    return _originals.get(function, function) if isinstance(function, FunctionType) else function


def _fits(function: Callable, args: tuple, kwargs: dict) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True
