"""The operator of the STFT losses made of torch's own functions, on any device and in any precision: for the gradients
that have no kernel, and as the reference of verification. Only functions that are never patched are used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arguments import LossArguments
from . import composite


def stft_loss(input: Tensor, target: Tensor, window: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """(the loss, its three terms) as ops.losses. arguments: LossArguments."""
    call = LossArguments(*arguments)
    x, y = (magnitudes(composite.stft(signal, window, *call.stft()), call.eps) for signal in (input, target))
    terms = [
        convergence(x, y, call.per_row) if call.convergence else x.new_zeros(()),
        distance(logarithm(x, call), logarithm(y, call), call) if call.log else x.new_zeros(()),
        distance(x, y, call) if call.linear else x.new_zeros(()),
    ]
    weights = call.convergence, call.log, call.linear
    loss = sum((weight * term for weight, term in zip(weights, terms, strict=True) if weight), x.new_zeros(()))
    return loss, torch.stack(terms)


def magnitudes(spectrum: Tensor, eps: float) -> Tensor:
    return torch.sqrt(torch.clamp(spectrum.real**2 + spectrum.imag**2, min=eps))


def convergence(x: Tensor, y: Tensor, per_row: bool) -> Tensor:
    """|y - x| / |y|, the norms over everything; per_row: the mean of the rows' quotients."""
    dims = (-1, -2) if per_row else None
    return (torch.norm(y - x, p="fro", dim=dims) / torch.norm(y, p="fro", dim=dims)).mean()


def logarithm(magnitude: Tensor, call: LossArguments) -> Tensor:
    if call.factor != 1:
        magnitude = call.factor * magnitude
    return torch.log(magnitude + call.added if call.added else magnitude)


def distance(a: Tensor, b: Tensor, call: LossArguments) -> Tensor:
    function = torch.nn.functional.mse_loss if call.squared else torch.nn.functional.l1_loss
    return function(a, b, reduction="mean" if call.mean else "sum")
