"""Windows as long as a frame."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from .by_tensor import ByTensor, TensorState

_known: ByTensor[dict[int, torch.Tensor]] = ByTensor()  # by n_fft


def whole_window(window: torch.Tensor, n_fft: int) -> torch.Tensor:
    """`window`, with zeros on both sides to n_fft values where it is shorter. That is made once for each window.

    window: [win_length] that no gradient is wanted of.
    """
    if window.shape[0] == n_fft:
        return window
    made = None if window.is_inference() else _known.find(window)
    if made is None:
        made = {}
        if not window.is_inference():
            _known.keep(TensorState(window), made)
    whole = made.get(n_fft)
    if whole is None:
        left = (n_fft - window.shape[0]) // 2
        with torch.inference_mode(False), torch.no_grad():  # the next call may want gradients
            whole = made[n_fft] = pad(window.clone(), (left, n_fft - window.shape[0] - left))
    return whole
