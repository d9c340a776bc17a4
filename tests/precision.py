"""Tensors in double precision, for what is right: on the CPU where the device has no doubles, as MPS."""

from __future__ import annotations

import torch


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Detached. What comes of it is compared after `.to(result)`."""
    tensor = tensor.detach().cpu() if tensor.is_mps else tensor.detach()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
