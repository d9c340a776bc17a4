"""Cached calls with a gradient (see execution/call_cache.py): the launches of both passes are part of the entry.

Only for the gradient of the signal or the spectrum. A backward pass that is itself recorded, transformed or seen by a
mode uses the operators.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..arguments import StftArguments
from ..kernels import Ready, transforms
from ..tensors import has_bits
from . import gradients, operators
from .eager import is_plain, kept


class Known:
    """The cached launches of one call. run: the forward pass. adjoint: the operator of the backward pass, with its
    arguments after gradient and window. make: finds the launch of that for one layout of gradients."""

    __slots__ = ("run", "adjoint", "arguments", "make", "last", "n_fft", "keeps_input")

    def __init__(self, run: Ready, adjoint: str, arguments: tuple, make: Callable[..., Ready | None]) -> None:
        self.run, self.adjoint, self.arguments, self.make = run, adjoint, arguments, make
        self.n_fft = arguments[1]
        is_stft = adjoint == "stft_adjoint"
        self.keeps_input = is_stft and gradients.is_looked_at_again(StftArguments(*arguments[1:-1]))
        self.last: tuple[tuple | None, Ready | None] = None, None  # the last layout of gradients, and its launch

    def __call__(self, input: Tensor, window: Tensor) -> Tensor | None:
        return _Recorded.apply(input, window, self)

    def backward(self, gradient: Tensor, window: Tensor) -> Tensor | None:
        """The gradient of the input, launched again; None where the operator must find it."""
        if is_plain(gradient):
            if self.adjoint == "istft_adjoint" and gradient.stride(1) != 1:  # of a sum() all strides are 0
                gradient = gradient.contiguous()
            places = gradient.data_ptr() % 8, window.data_ptr() % 8
            layout = gradient.stride(), places, gradient.is_conj(), gradient.is_neg()
            known, launch = self.last
            if known != layout:
                launch = None if has_bits(gradient) else self.make(gradient, window)
                self.last = layout, launch
            return None if launch is None else launch(gradient, window)
        return None


class _Recorded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, window, known):
        ctx.known, ctx.dtype = known, input.dtype
        ctx.save_for_backward(input if known.keeps_input else None, kept(window, known.n_fft))
        return known.run(input, window)

    @staticmethod
    def backward(ctx, gradient):
        input, window = ctx.saved_tensors
        known = ctx.known
        try:
            result = known.backward(gradient, window)
        except Exception:  # the operator meets it again and handles it
            result = None
        if result is None:
            result = gradients.run(known.adjoint, gradient, window, *known.arguments)
        result = result if result.dtype is ctx.dtype else result.to(ctx.dtype)
        if input is not None and torch.is_grad_enabled():
            result = gradients.tied(result, input, StftArguments(*known.arguments[1:-1]))
        return result, None, None


def known(op: str, input: Tensor, window: Tensor, arguments: tuple) -> Known | None:
    """stft or istft, with the gradient of its input, as a function of input and window alone. None: there is none.

    window: contiguous, without lazy conjugation or negation. arguments: the operator's.
    """
    run = operators.ready(op, input, window, arguments)
    if run is None:
        return None
    if op == "stft":
        geometry = operators.stft_geometry(*input.shape, *arguments)
        return Known(run, "stft_adjoint", (input.shape[1], *arguments, False),
                     lambda gradient, window: transforms.ready_stft_adjoint(gradient, window, geometry))  # fmt: skip
    *given, length, _ = arguments
    frames = input.shape[2]
    geometry = operators.istft_geometry(input.shape[0], frames, *given, length)
    return Known(run, "istft_adjoint", (frames, *given),
                 lambda gradient, window: transforms.ready_istft_adjoint(gradient, window, geometry))  # fmt: skip
