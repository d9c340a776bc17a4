"""Cached STFT losses of several sizes between the same two signals: their mean and its gradient as one node of
autograd, with one copy of the target.

Only for the gradient of the input. A backward pass that is itself recorded, transformed or seen by a mode uses the
operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels import stft_loss as kernels
from ..kernels import whole_window
from ..tensors import wants_gradient
from .eager import is_plain
from .losses import WAYS, described


class MeanOfLosses:
    """As a function of input, target and windows: of tensors laid out as those of its first call.

    flat: the shape of the signals as rows. arguments: LossArguments of each loss.
    """

    __slots__ = ("flat", "arguments", "described", "forward", "gradient")

    def __init__(self, flat: torch.Size, arguments: Sequence[tuple]) -> None:
        self.flat, self.arguments = flat, arguments
        self.described = [described(*flat, *one) for one in arguments]
        self.forward: list | None = None  # the launches, which the first call makes
        self.gradient: list | None = None

    def __call__(self, input: Tensor, target: Tensor, *windows: Tensor) -> Tensor:
        wholes = [whole_window(one, call[0]) for one, call in zip(windows, self.arguments, strict=True)]
        if wants_gradient(input):
            return _Mean.apply(self, input, target, *wholes)
        return self.run(self.rows(input), self.rows(target), wholes)[0]

    def rows(self, signal: Tensor) -> Tensor:
        return signal.reshape(self.flat).contiguous()

    def run(self, input: Tensor, target: Tensor, windows: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """(the mean, the terms of each loss)."""
        if self.forward is None:
            last = len(windows) - 1
            places = [kernels.Place(i > 0, len(windows) if i == last else 1) for i in range(len(windows))]
            self.forward = [
                kernels.ready_stft_loss(input, target, window, *one, place)
                for window, one, place in zip(windows, self.described, places, strict=True)
            ]
        mean, kept = None, []
        for launch, window in zip(self.forward, windows, strict=True):
            mean, terms = launch(input, target, window, mean)
            kept.append(terms)
        return mean, kept

    def launched(self, upstream: Tensor, input: Tensor, target: Tensor, given: Sequence[tuple]) -> Tensor | None:
        """The gradient of the input; None where the operators must find it. given: each window and its terms."""
        if not is_plain(upstream):
            return None
        upstream, rows = (upstream / len(given)).reshape(1), self.rows(input)
        if self.gradient is None:
            self.gradient = [
                kernels.ready_stft_loss_gradient(rows, target, window, *one, (True, False))
                for (window, _), one in zip(given, self.described, strict=True)
            ]
        total = None
        for launch, (window, terms) in zip(self.gradient, given, strict=True):
            found = launch(upstream, terms, terms, rows, target, window)
            total = found if total is None else total.add_(found)
        return total.reshape(input.shape)

    def by_operators(self, upstream: Tensor, input: Tensor, target: Tensor, given: Sequence[tuple]) -> Tensor:
        upstream, rows = upstream / len(given), input.reshape(self.flat)
        found = [
            WAYS["stft_loss_gradient"].backward(upstream, None, terms, rows, target, window, *arguments)
            for (window, terms), arguments in zip(given, self.arguments, strict=True)
        ]
        return sum(found[1:], found[0]).reshape(input.shape)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, known: MeanOfLosses, input: Tensor, target: Tensor, *windows: Tensor) -> Tensor:
        rows = target.reshape(known.flat).clone(memory_format=torch.contiguous_format)  # the program may change its own
        mean, terms = known.run(known.rows(input), rows, windows)
        ctx.known = known
        ctx.save_for_backward(input, rows, *windows, *terms)
        return mean

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        input, target, *rest = ctx.saved_tensors
        count = len(rest) // 2
        given = list(zip(rest[:count], rest[count:], strict=True))
        try:
            gradient = ctx.known.launched(upstream, input, target, given)
        except Exception:  # the operators meet it again and handle it
            gradient = None
        if gradient is None:
            gradient = ctx.known.by_operators(upstream, input, target, given)
        return None, gradient, None, *[None] * count
