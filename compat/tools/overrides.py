"""A function of somebody else's with an answer of ours asked first: what torchaudio's hooks and compat are made of."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch

Answer = Callable[..., "torch.Tensor | None"]


def asked_first(answer: Answer) -> Callable[[Callable, Callable], Callable]:
    """A maker for patching/hooks.py. answer(*the call's arguments) is asked if the call's first tensor is on an
    accelerated
    device of the code that calls; where it gives None, the original answers. TorchScript sees the original."""
    return lambda original, is_active: _wrapper(original, is_active, answer)


def _wrapper(original: Callable, is_active: Callable, answer: Answer) -> Callable:
    def asked(*args: Any, **kwargs: Any) -> torch.Tensor | None:
        options = is_active()
        if options is None or torch._C._get_tracing_state() is not None:
            return None
        signal = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        if signal is None or signal.device.type not in options.device_types:
            return None
        try:
            return answer(*args, **kwargs)
        except TypeError:
            if _binds(answer, args, kwargs):
                raise
            return None  # wrong arguments: the original says so in its own words

    def wrapper(*args, **kwargs):
        result = asked(*args, **kwargs)
        return original(*args, **kwargs) if result is None else result

    # TorchScript reads a function's globals as well as its source.
    twin = FunctionType(wrapper.__code__, original.__globals__, wrapper.__name__, None, wrapper.__closure__)
    return functools.update_wrapper(twin, original)


def _binds(function: Callable, args: tuple, kwargs: dict) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True
