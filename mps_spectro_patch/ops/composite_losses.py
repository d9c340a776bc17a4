"""The operator of the STFT losses made of torch's own functions, on any device and in any precision: for the gradients
that have no kernel, and as the reference of verification. Only functions that are never patched are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..arguments import LossArguments
from . import composite


def stft_loss(input: Tensor, target: Tensor, window: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """(the loss, its three terms) as ops.losses. arguments: LossArguments."""
    call = LossArguments(*arguments)
    return _of_magnitudes(*_magnitudes(input, target, window, call), call)


def gradients(
    loss_gradient: Tensor | None, terms_gradient: Tensor | None, input: Tensor, target: Tensor, window: Tensor,
    *arguments: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Of input, target and window, for those of the loss and its terms. By torch.func, so that transforms and further
    derivatives work."""
    (loss, terms), pull = torch.func.vjp(lambda *tensors: stft_loss(*tensors, *arguments), input, target, window)
    of_loss = torch.zeros_like(loss) if loss_gradient is None else loss_gradient
    of_terms = torch.zeros_like(terms) if terms_gradient is None else terms_gradient[: terms.shape[0]]
    return pull((of_loss, of_terms))


def with_worth(input: Tensor, target: Tensor, window: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """stft_loss() with what the operator's gradient needs behind the terms: see kernels/stft_loss_finish.metal."""
    call = LossArguments(*arguments)
    x, y = _magnitudes(input, target, window, call)
    loss, terms = _of_magnitudes(x, y, call)
    dims = (-1, -2) if call.per_row else None
    apart, size = (torch.norm(one, p="fro", dim=dims).reshape(-1) for one in (y - x, y))
    worth = torch.where(apart == 0, 0.0, 0.5 / (apart * size)) / len(apart)
    return loss, torch.cat([terms, worth])


def rows_of(shape: torch.Size) -> torch.Size:
    """[..., samples] as [rows, samples]"""
    return torch.Size((prod(shape[:-1]), shape[-1]))


def mean_with_worth(
    input: Tensor, target: Tensor, windows: Sequence[Tensor], losses: Sequence[LossArguments]
) -> tuple[Tensor, Tensor]:
    """(the mean of the losses between signals [..., samples], what with_worth() gives of each)"""
    rows = [one.reshape(rows_of(one.shape)) for one in (input, target)]
    found = [with_worth(*rows, *one) for one in _each(windows, losses)]
    return sum(loss for loss, _ in found) / len(found), torch.cat([terms for _, terms in found])


def gradients_of_mean(
    mean_gradient: Tensor, input: Tensor, target: Tensor, windows: Sequence[Tensor], losses: Sequence[LossArguments]
) -> tuple[Tensor, ...]:
    """Of input, target and windows, for that of the mean of the losses."""
    upstream = mean_gradient / len(losses)
    rows = [one.reshape(rows_of(one.shape)) for one in (input, target)]
    each = [gradients(upstream, None, *rows, *one) for one in _each(windows, losses)]
    of_input, of_target, of_windows = zip(*each, strict=True)
    return *(sum(one).reshape(input.shape) for one in (of_input, of_target)), *of_windows


def _each(windows: Sequence[Tensor], losses: Sequence[LossArguments]) -> Iterator[tuple]:
    return ((window, *call) for window, call in zip(windows, losses, strict=True))


def _magnitudes(input: Tensor, target: Tensor, window: Tensor, call: LossArguments) -> tuple[Tensor, Tensor]:
    if window.shape[0] > call.win_length:  # with the zeros around it
        window = window.narrow(0, (call.n_fft - call.win_length) // 2, call.win_length)
    x, y = (magnitudes(composite.stft(signal, window, *call.stft()), call.eps) for signal in (input, target))
    return x, y


def _of_magnitudes(x: Tensor, y: Tensor, call: LossArguments) -> tuple[Tensor, Tensor]:
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
