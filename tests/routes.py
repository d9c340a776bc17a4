"""What routing says of a call that is written as a program writes it."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch

from mps_spectro_patch import routing
from mps_spectro_patch.patching.entry import istft_arguments
from mps_spectro_patch.reasons import Route


def route(op: str, *args: Any, flags: tuple[str, ...] = ("is_mps",), **kwargs: Any) -> Route:
    """How torch's function would go with these arguments if tensors with one of `flags` are accelerated."""
    arguments = _ARGUMENTS[op](*args, **kwargs)
    return routing.dressed(op, routing.decide(op, flags, arguments), arguments[0])


def _stft_arguments(*args: Any, **kwargs: Any) -> tuple:
    bound = inspect.signature(torch.functional.stft).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args


_ARGUMENTS = {"stft": _stft_arguments, "istft": istft_arguments}
route_stft, route_istft = partial(route, "stft"), partial(route, "istft")
