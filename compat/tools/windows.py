"""Windows that a project makes on the CPU and copies to the device for every call: copied once here, and cached.

Each function returns what the expression in its docstring returns. For a window that is the same tensor in each call,
istft also has its envelope cached.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.compiler import is_compiling
from torch.utils.weak import WeakIdKeyDictionary

_copies: WeakIdKeyDictionary = WeakIdKeyDictionary()  # window -> {device: (its version when it was copied, the copy)}
_hann_windows: dict[tuple, torch.Tensor] = {}


def copied(window: torch.Tensor, device: torch.device) -> torch.Tensor:
    """window.to(device)"""
    if window.device == device or is_compiling() or window.is_inference() or window.requires_grad:
        return window.to(device)
    copies = _copies.setdefault(window, {})
    version, copy = copies.get(device, (None, None))
    if version == window._version:
        return copy
    with torch.inference_mode(False), torch.no_grad():  # it may be saved for a backward pass
        copy = window.to(device)
    if _may_be_kept(copy):
        copies[device] = window._version, copy
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
    return type(window) is torch.Tensor  # and not a fake one, whose mode ends
