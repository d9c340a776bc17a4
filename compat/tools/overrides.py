"""Replaces somebody else's function with one of ours for the calls that ours does; the original gets all others."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch

Replacement = Callable[..., "torch.Tensor | None"]


def override(replacement: Replacement) -> Callable[[Callable, Callable], Callable]:
    """A maker for patching/hooks.py.

    replacement(*the call's arguments) is called if the first tensor among them is on an accelerated device of the code
    that calls. Where it returns None the original runs. TorchScript sees the original.
    """
    return lambda original, active_options: _wrapper(original, active_options, replacement)


def _wrapper(original: Callable, active_options: Callable, replacement: Replacement) -> Callable:
    def replaced(*args: Any, **kwargs: Any) -> torch.Tensor | None:
        options = active_options()
        if options is None or torch._C._get_tracing_state() is not None:
            return None
        signal = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        if signal is None or signal.device.type not in options.device_types:
            return None
        try:
            return replacement(*args, **kwargs)
        except TypeError:
            try:
                inspect.signature(replacement).bind(*args, **kwargs)
            except TypeError:
                return None  # wrong arguments: the original says so in its own words
            raise

    def wrapper(*args, **kwargs):
        result = replaced(*args, **kwargs)
        return original(*args, **kwargs) if result is None else result

    # TorchScript reads a function's globals as well as its source.
    twin = FunctionType(wrapper.__code__, original.__globals__, wrapper.__name__, None, wrapper.__closure__)
    return functools.update_wrapper(twin, original)
