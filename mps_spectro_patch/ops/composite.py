"""The operators made of torch's own functions: for calls without a kernel, and for second derivatives.

Only functions that are never patched are used here. With reach="dispatcher" our kernels are registered on torch's own
operators; they leave the calls made here to torch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_here = threading.local()


@contextmanager
def left_to_torch() -> Iterator[None]:
    """While it lasts, this thread's calls of torch's operators do not come to kernels of ours."""
    before, _here.is_left = getattr(_here, "is_left", False), True
    try:
        yield
    finally:
        _here.is_left = before


def is_left_to_torch() -> bool:
    return getattr(_here, "is_left", False)


def stft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """[rows, samples] to [rows, bins, frames], as operators.run_stft."""
    n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided = arguments
    if pad:
        input = torch.nn.functional.pad(input.unsqueeze(0), (pad, pad), pad_mode).squeeze(0)
    with left_to_torch():
        return torch._VF.stft(input, n_fft, hop_length, win_length, window, normalized, onesided, True)


def istft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """[rows, bins, frames] to [rows, length], as operators.run_istft. Raises torch's error where that is impossible."""
    n_fft, hop_length, win_length, *rest = arguments
    with left_to_torch():
        return torch._VF.istft(input, n_fft, hop_length, win_length, window, *rest)


def of_parts(input: Tensor) -> Tensor:
    """The complex tensor that torch.view_as_real() made these parts of; a complex one is returned as it is."""
    return input if input.is_complex() else torch.view_as_complex(input)
