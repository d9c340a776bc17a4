"""Windows that a project makes on the CPU and copies to the device for every call: copied once here, and cached.

Each function returns what the expression in its docstring returns. For a window that is the same tensor in each call,
istft also has its envelope cached.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.compiler import is_compiling

from ...kernels import ByTensor, TensorState
from ...tensors import PLAIN

_copies: ByTensor[dict[torch.device, torch.Tensor]] = ByTensor()
_hann_windows: dict[tuple, torch.Tensor] = {}


def copied(window: torch.Tensor, device: torch.device) -> torch.Tensor:
    """window.to(device)"""
    if window.device == device or is_compiling() or window.is_inference() or window.requires_grad:
        return window.to(device)
    if not _may_be_kept(window):
        return window.to(device)
    copies = _copies.find(window)
    if copies is None:
        _copies.keep(TensorState(window), copies := {})
    copy = copies.get(device)
    if copy is None:
        with torch.inference_mode(False), torch.no_grad():  # it may be saved for a backward pass
            copy = window.to(device)
        if _may_be_kept(copy):
            copies[device] = copy
    return copy


def hann(length: int, like: torch.Tensor) -> torch.Tensor:
    """torch.hann_window(length).to(like)"""
    return _hann(length, like.device, like.dtype)


def made(make: Callable[[], torch.Tensor], device: torch.device) -> torch.Tensor:
    """make().to(device)"""
    plain = type(make) is functools.partial and make.func is torch.hann_window and not make.keywords
    if not plain or len(make.args) != 1:
        return make().to(device)
    return _hann(make.args[0], device, torch.get_default_dtype())


def _hann(length: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    if is_compiling():
        return torch.hann_window(length).to(device, dtype)
    key = length, device, dtype, torch.get_default_dtype()
    window = _hann_windows.get(key)
    if window is None:
        with torch.inference_mode(False), torch.no_grad():
            window = torch.hann_window(length).to(device, dtype)
        if _may_be_kept(window):
            _hann_windows[key] = window
    return window


def _may_be_kept(window: torch.Tensor) -> bool:
    return type(window) in PLAIN  # and not a fake one, whose mode ends
