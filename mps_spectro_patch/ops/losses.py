"""The operator of the STFT losses: from two signals to a number, with derivatives and batching.

stft_loss(input, target, window) is what kernels/launch/stft_loss.py says of Terms. The gradient of the input is fused
too; those of the target and the window, and second derivatives, are made of torch's own functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..arguments import LossArguments, schema
from ..kernels import StftGeometry, whole_window
from ..kernels import stft_loss as kernels
from ..tensors import wants_gradient
from . import composite_losses
from .eager import Ways, is_transformed, kept
from .operators import define

_FIELDS = tuple(field.name for field in fields(kernels.Terms))


def run_stft_loss(input: Tensor, target: Tensor, window: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """(the loss, its terms and what the gradient needs) of [rows, samples] float32. arguments: LossArguments."""
    geometry, wanted = described(*input.shape, *arguments)
    return kernels.stft_loss(input.resolve_neg(), target.resolve_neg(), window.resolve_neg(), geometry, wanted)


def run_stft_loss_gradient(
    loss_gradient: Tensor | None, terms_gradient: Tensor | None, terms: Tensor, input: Tensor, target: Tensor,
    window: Tensor, *arguments: Any,
) -> Tensor:  # fmt: skip
    """From the gradients of the loss and its terms to that of the input, [rows, samples]. arguments: LossArguments."""
    geometry, wanted = described(*input.shape, *arguments)
    given = (None if one is None else one.resolve_neg() for one in (loss_gradient, terms_gradient))
    tensors = (one.resolve_neg() for one in (terms, input, target, window))
    return kernels.stft_loss_gradient(*given, *tensors, geometry, wanted)


@lru_cache(maxsize=1024)
def described(rows: int, samples: int, *arguments: Any) -> tuple[StftGeometry, kernels.Terms]:
    call = LossArguments(*arguments)
    wanted = kernels.Terms(**{name: getattr(call, name) for name in _FIELDS})
    return StftGeometry(rows, samples, *call.stft()), wanted


def _fake_stft_loss(input, target, window, *arguments):
    terms = kernels.terms_of(input.shape[0], LossArguments(*arguments).per_row)
    return input.new_empty(()), input.new_empty((terms,))


def _fake_stft_loss_gradient(loss_gradient, terms_gradient, terms, input, *rest):
    return input.new_empty(input.shape)


_SIGNALS = f"Tensor input, Tensor target, Tensor window, {schema(LossArguments)}"
define("stft_loss", _SIGNALS, run_stft_loss, _fake_stft_loss, "(Tensor, Tensor)")
define(
    "stft_loss_gradient", f"Tensor? loss_gradient, Tensor? terms_gradient, Tensor terms, {_SIGNALS}",
    run_stft_loss_gradient, _fake_stft_loss_gradient,
)  # fmt: skip


def _setup(ctx, inputs, output) -> None:
    input, target, window, *ctx.arguments = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(input, target, window, output[1])


def _backward(ctx, loss_gradient, terms_gradient):
    input, target, window, terms = ctx.saved_tensors
    results = [None, None, None]
    if loss_gradient is not None or terms_gradient is not None:
        if ctx.needs_input_grad[0]:
            given = loss_gradient, terms_gradient, terms, input, target, window
            results[0] = WAYS["stft_loss_gradient"].backward(*given, *ctx.arguments)
        if any(ctx.needs_input_grad[1:3]):
            others = composite_losses.gradients(loss_gradient, terms_gradient, input, target, window, *ctx.arguments)[
                1:
            ]
            results[1:] = [
                one if needed else None for one, needed in zip(others, ctx.needs_input_grad[1:3], strict=True)
            ]
    return *results, *[None] * len(ctx.arguments)


def _setup_gradient(ctx, inputs, output) -> None:
    *tensors, terms, input, target, window = inputs[:6]
    ctx.arguments = inputs[6:]
    ctx.save_for_backward(*tensors, input, target, window)


def _backward_gradient(ctx, cotangent):
    """By torch's own functions: of the upstream gradients, of input, target and window. The terms are no variable of
    their own."""
    loss_gradient, terms_gradient, *signals = ctx.saved_tensors
    given = [one for one in (loss_gradient, terms_gradient) if one is not None]

    def input_gradient(*tensors):
        upstream = list(tensors[: len(given)])
        of_loss = None if loss_gradient is None else upstream.pop(0)
        of_terms = None if terms_gradient is None else upstream.pop(0)
        return composite_losses.gradients(of_loss, of_terms, *tensors[len(given) :], *ctx.arguments)[0]

    _, pull = torch.func.vjp(input_gradient, *given, *signals)
    found = list(pull(cotangent))
    upstream = [None if one is None else found.pop(0) for one in (loss_gradient, terms_gradient)]
    wanted = zip([*upstream, None, *found], ctx.needs_input_grad[:6], strict=True)
    return *(one if needed else None for one, needed in wanted), *[None] * len(ctx.arguments)


WAYS = {
    "stft_loss": Ways("stft_loss", run_stft_loss, _setup, _backward, 0),
    "stft_loss_gradient": Ways("stft_loss_gradient", run_stft_loss_gradient, _setup_gradient, _backward_gradient, 0),
}
stft_loss = WAYS["stft_loss"].operator


def ready_stft_loss(
    flat: torch.Size, needs_gradient: bool, arguments: tuple
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """eager_stft_loss() of signals that are rows of the shape `flat`, with the gradient of the input or none."""
    n_fft = arguments[0]

    def run(input: Tensor, target: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        rows = input.reshape(flat), target.reshape(flat)
        if needs_gradient:
            return eager_stft_loss(*rows, window, *arguments)
        return run_stft_loss(*rows, whole_window(window, n_fft), *arguments)

    return run


def eager_stft_loss(input: Tensor, target: Tensor, window: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """stft_loss of plain tensors or functorch's, while nothing is traced or compiled."""
    if not is_transformed():
        n_fft = arguments[0]
        window = kept(window, n_fft) if window.requires_grad else whole_window(window, n_fft)
        if wants_gradient(input, target, window):
            target = target.clone()  # torch keeps its magnitudes, so the program may change its own in place
    return WAYS["stft_loss"].forward(input, target, window, *arguments)
