"""What of a tensor decides how a call goes, beside its values: its type, its bits, whether it asks for a gradient."""

from __future__ import annotations

import torch

PLAIN = (torch.Tensor, torch.nn.Parameter)  # whose calls may be cached: no subclass, nothing that is traced

# Our own stand-ins for tensors, which answer torch's functions themselves: what stands at torch's names passes them on.
STAND_INS: set[type] = set()


def wants_gradient(*tensors: torch.Tensor | None) -> bool:
    """Whether autograd records a call with these tensors."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def has_bits(tensor: torch.Tensor) -> bool:
    """Those by which torch remembers conjugation and negation: the kernels read memory."""
    return tensor.is_conj() or tensor.is_neg()


def without_bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.resolve_conj().resolve_neg()
