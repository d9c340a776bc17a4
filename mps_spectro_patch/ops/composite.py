"""The operators made of torch's own functions: for calls without a kernel, and for second derivatives.

Only functions that are never patched are used here. With reach="dispatcher" our kernels are registered on torch's own
operators; is_running() tells them to leave the calls made here to torch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_here = threading.local()


def is_running() -> bool:
    """Whether this thread is inside one of the functions below."""
    return getattr(_here, "depth", 0) > 0


def stft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """[rows, samples] to [rows, bins, frames], as operators.run_stft."""
    n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided = arguments
    if pad:
        input = torch.nn.functional.pad(input.unsqueeze(0), (pad, pad), pad_mode).squeeze(0)
    with _running():
        return torch._VF.stft(input, n_fft, hop_length, win_length, window, normalized, onesided, True)


def istft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """[rows, bins, frames] to [rows, length], as operators.run_istft. Raises torch's error where that is impossible."""
    n_fft, hop_length, win_length, *rest = arguments
    with _running():
        return torch._VF.istft(input, n_fft, hop_length, win_length, window, *rest)


@contextmanager
def _running() -> Iterator[None]:
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1
