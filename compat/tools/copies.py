"""What a function copies from the CPU to a device in every call, as HiFi-GAN's own does with its filterbank and its
window: the same values get the tensor of the call before, as long as nobody has written to it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels import TensorState

_KEPT = 4  # a filterbank and a window, of two functions
_NUMBERS_MAX = 2**20  # nobody's filterbank is larger


class _Known(NamedTuple):
    owner: str  # the function's name
    copy: Tensor
    state: TensorState  # of the copy
    values: Tensor  # on the CPU
    stream: object


_known: list[_Known] = []  # the last one first


def is_one(source: object) -> bool:
    """Whether a copy of this may be known again."""
    return (
        type(source) is Tensor and source.device.type == "cpu" and source.dtype is torch.float32
        and 0 < source.dim() < 3 and source.numel() <= _NUMBERS_MAX and not source.requires_grad
    )  # fmt: skip


def find(owner: str, source: Tensor, device: object) -> Tensor | None:
    """The copy of the same values on this device, if nothing has become of it since."""
    if torch.is_inference_mode_enabled():  # whose tensors are others
        return None
    for one in _known:
        copy = one.copy
        if one.owner != owner or copy.device != device or copy.shape != source.shape or copy.requires_grad:
            continue
        if one.state.is_of(copy) and one.stream == _stream(copy) and torch.equal(_bits(one.values), _bits(source)):
            return copy
    return None


def keep(owner: str, source: Tensor, copy: Tensor) -> None:
    if not copy.is_inference():
        _known[:] = [_Known(owner, copy, TensorState(copy), source.clone(), _stream(copy)), *_known[: _KEPT - 1]]


def _bits(values: Tensor) -> Tensor:
    return values.view(torch.int32)  # which tell zeros apart


def _stream(copy: Tensor) -> object:
    """Memory is used again in the order of the stream that it was allocated for."""
    return torch.cuda.current_stream(copy.device) if copy.is_cuda else None
