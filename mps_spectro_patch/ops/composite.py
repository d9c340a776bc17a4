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

from ..arguments import IstftArguments

_NOLA_MINIMUM = 1e-11  # torch.istft refuses an envelope below this


class _Here(threading.local):
    """is_left: this thread's calls of torch's operators do not come to kernels of ours."""

    is_left = False


here = _Here()


@contextmanager
def left_to_torch() -> Iterator[None]:
    before, here.is_left = here.is_left, True
    try:
        yield
    finally:
        here.is_left = before


def stft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """[rows, samples] to [rows, bins, frames], as operators.run_stft."""
    n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided = arguments
    if pad:
        input = torch.nn.functional.pad(input.unsqueeze(0), (pad, pad), pad_mode).squeeze(0)
    with left_to_torch():
        return torch._VF.stft(input, n_fft, hop_length, win_length, window, normalized, onesided, True)


def istft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """[rows, bins, frames] to [rows, length], as operators.run_istft. Raises torch's error where that is impossible."""
    call = IstftArguments(*arguments)
    if call.forgiving:
        return _forgiving_istft(input, window, call)
    rest = call.trim > 0, call.normalized, call.onesided, call.length, call.return_complex
    with left_to_torch():
        return torch._VF.istft(input, call.n_fft, call.hop_length, call.win_length, window, *rest)


def _forgiving_istft(input: Tensor, window: Tensor, call: IstftArguments) -> Tensor:
    """To a real signal; samples that no window reaches are left undivided."""
    n_fft, hop_length = call.n_fft, call.hop_length
    inverse = torch.fft.irfft if call.onesided else torch.fft.ifft
    left = (n_fft - call.win_length) // 2
    padded = torch.nn.functional.pad(window, (left, n_fft - call.win_length - left))
    frames = inverse(input * n_fft**0.5 if call.normalized else input, n_fft, dim=1).real * padded.unsqueeze(1)
    count = frames.shape[-1]
    total = n_fft + hop_length * (count - 1)

    def overlap_add(values: Tensor) -> Tensor:
        folded = torch.nn.functional.fold(values, (1, total), (1, n_fft), stride=(1, hop_length))
        return folded.reshape(values.shape[0], total)

    signal = overlap_add(frames)
    envelope = overlap_add(padded.square().reshape(1, -1, 1).expand(1, n_fft, count))
    signal = signal / torch.where(envelope > _NOLA_MINIMUM, envelope, 1.0)  # one division: its gradient is finite
    end = call.trim + call.length
    return torch.nn.functional.pad(signal[:, call.trim : end], (0, max(0, end - total)))


def of_parts(input: Tensor) -> Tensor:
    """The complex tensor that torch.view_as_real() made these parts of; a complex one is returned as it is."""
    return input if input.is_complex() else torch.view_as_complex(input)
