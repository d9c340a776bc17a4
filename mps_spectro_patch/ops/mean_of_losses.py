"""Cached STFT losses of several sizes between the same two signals: their mean and its gradient as one node of
autograd, with one copy of the target.

Only for the gradient of the input. A backward pass that is itself recorded, transformed or seen by a mode uses the
operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels import stft_loss as kernels
from ..kernels import whole_window
from ..tensors import wants_gradient
from .composite_losses import rows_of
from .eager import is_plain
from .losses import WAYS, described


class MeanOfLosses:
    """As a function of input, target and windows: of tensors laid out as those of its first call.

    shape: of the signals, [..., samples]. arguments: LossArguments of each loss.
    """

    __slots__ = ("flat", "arguments", "described", "forward", "gradient")

    def __init__(self, shape: torch.Size, arguments: Sequence[tuple]) -> None:
        self.flat, self.arguments = rows_of(shape), arguments
        self.described = [described(*self.flat, *one) for one in arguments]
        self.forward: list[Callable | None] = [None, None]  # the launches, made by the first call that copies or not
        self.gradient: Callable | None = None

    def __call__(self, input: Tensor, target: Tensor, *windows: Tensor) -> Tensor:
        wholes = [whole_window(one, call[0]) for one, call in zip(windows, self.arguments, strict=True)]
        if wants_gradient(input):
            return _Mean.apply(self, input, target, *wholes)
        return self.run(self.rows(input), self.rows(target), wholes)[0]

    def rows(self, signal: Tensor) -> Tensor:
        if signal.shape == self.flat and signal.is_contiguous():  # as it is mostly: asked faster than done
            return signal
        return signal.reshape(self.flat).contiguous()

    def run(
        self, input: Tensor, target: Tensor, windows: Sequence[Tensor], copies: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(the mean, the terms of all losses, a copy of the target if it is asked for)."""
        if self.forward[copies] is None:
            self.forward[copies] = kernels.ready_mean(input, target, windows, self.described, copies)
        return self.forward[copies](input, target, windows)

    def launched(
        self, upstream: Tensor, input: Tensor, target: Tensor, terms: Tensor, windows: Sequence[Tensor]
    ) -> Tensor | None:
        """The gradient of the input; None where the operators must find it."""
        if not is_plain(upstream):
            return None
        rows = self.rows(input)
        gradient = self.run_gradient(upstream, rows, target, terms, windows)
        return gradient if rows is input else gradient.reshape(input.shape)

    def run_gradient(
        self, upstream: Tensor, input: Tensor, target: Tensor, terms: Tensor, windows: Sequence[Tensor]
    ) -> Tensor:
        """Of rows, as run() had them."""
        if self.gradient is None:
            self.gradient = kernels.ready_mean_gradient(input, target, windows, self.described)
        return self.gradient(upstream.resolve_neg().view(1), terms, input, target, windows)

    def by_operators(
        self, upstream: Tensor, input: Tensor, target: Tensor, terms: Tensor, windows: Sequence[Tensor]
    ) -> Tensor:
        upstream, rows = upstream / len(windows), input.reshape(self.flat)
        parts = terms.split([kernels.terms_of(geometry.rows, wanted.per_row) for geometry, wanted in self.described])
        found = [
            WAYS["stft_loss_gradient"].backward(upstream, None, own, rows, target, window, *arguments)
            for window, own, arguments in zip(windows, parts, self.arguments, strict=True)
        ]
        return sum(found[1:], found[0]).reshape(input.shape)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, known: MeanOfLosses, input: Tensor, target: Tensor, *windows: Tensor) -> Tensor:
        rows = known.rows(target)
        copies = rows.data_ptr() == target.data_ptr()  # the program may change its own
        mean, terms, copy = known.run(known.rows(input), rows, windows, copies)
        ctx.known = known
        ctx.save_for_backward(input, copy if copies else rows, terms, *windows)
        return mean

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        input, target, terms, *windows = ctx.saved_tensors
        given = upstream, input, target, terms, windows
        try:
            gradient = ctx.known.launched(*given)
        except Exception:  # the operators meet it again and handle it
            gradient = None
        if gradient is None:
            gradient = ctx.known.by_operators(*given)
        return None, gradient, None, *[None] * len(windows)
