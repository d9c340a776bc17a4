"""The operators of several STFT losses between the same two signals: their mean in one call, as compiled code has it.

A graph gets mean_of_losses(). Traced with its gradient, it becomes stft_losses() and stft_losses_gradient(). Those know
no derivative: with one of ours, torch would ask Python twice in each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..arguments import losses_of
from ..kernels import stft_loss as kernels
from ..kernels import whole_window
from . import composite_losses
from .composite_losses import rows_of
from .mean_of_losses import MeanOfLosses
from .operators import NAMESPACE, define, namespace

_SIGNALS = "Tensor input, Tensor target, Tensor[] windows, str losses"


def run_stft_losses(input: Tensor, target: Tensor, windows: Sequence[Tensor], losses: str) -> tuple[Tensor, Tensor]:
    """(the mean, what the gradient needs) of [..., samples] float32. losses: text_of() their LossArguments."""
    known, *signals, windows = _known(input, target, windows, losses)
    return known.run(*signals, windows)[:2]


def run_stft_losses_gradient(
    mean_gradient: Tensor, terms: Tensor, input: Tensor, target: Tensor, windows: Sequence[Tensor], losses: str
) -> Tensor:
    """From the gradient of the mean to that of the input, [..., samples]."""
    known, *signals, windows = _known(input, target, windows, losses)
    return known.run_gradient(mean_gradient, *signals, terms, windows).view(input.shape)


def _known(
    input: Tensor, target: Tensor, windows: Sequence[Tensor], losses: str
) -> tuple[MeanOfLosses, Tensor, Tensor, list[Tensor]]:
    """(what an earlier call of the same kind has made, the tensors as kernels read them). Addresses are part of the
    kind, because kernels load pairs of samples where these lie at multiples of 8 bytes."""
    signals = [one.resolve_neg().contiguous() for one in (input, target)]
    wholes = [whole_window(one.resolve_neg(), call.n_fft) for one, call in zip(windows, losses_of(losses), strict=True)]
    places = tuple([one.data_ptr() % 8 for one in (*signals, *wholes)])
    known = _of_kind(losses, input.shape, input.device, places)
    return known, *(one.view(known.flat) for one in signals), wholes


@lru_cache(maxsize=1024)
def _of_kind(losses: str, shape: torch.Size, device: torch.device, places: tuple) -> MeanOfLosses:
    return MeanOfLosses(shape, losses_of(losses))


def _fake_stft_losses(input, target, windows, losses):
    terms = sum(kernels.terms_of(rows_of(input.shape)[0], one.per_row) for one in losses_of(losses))
    return input.new_empty(()), input.new_empty((terms,))


def _fake_stft_losses_gradient(mean_gradient, terms, input, *rest):
    return input.new_empty(input.shape)


stft_losses = define("stft_losses", _SIGNALS, run_stft_losses, _fake_stft_losses, "(Tensor, Tensor)")
stft_losses_gradient = define(
    "stft_losses_gradient", f"Tensor mean_gradient, Tensor terms, {_SIGNALS}", run_stft_losses_gradient,
    _fake_stft_losses_gradient,
)  # fmt: skip


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, losses: str, input: Tensor, target: Tensor, *windows: Tensor) -> Tensor:
        mean, terms = stft_losses(input, target, windows, losses)
        ctx.losses = losses
        ctx.save_for_backward(terms, input, target, *windows)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, mean_gradient: Tensor) -> tuple[Tensor | None, ...]:
        terms, input, target, *windows = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        found: list[Tensor | None] = [None] * len(needed)
        if needed[0]:
            found[0] = stft_losses_gradient(mean_gradient, terms, input, target, windows, ctx.losses)
        if any(needed[1:]):
            others = composite_losses.gradients_of_mean(mean_gradient, input, target, windows, losses_of(ctx.losses))
            found[1:] = [one if wanted else None for one, wanted in zip(others[1:], needed[1:], strict=True)]
        return None, *found


def _mean_of_losses(input: Tensor, target: Tensor, windows: Sequence[Tensor], losses: str) -> Tensor:
    return _Together.apply(losses, input, target, *windows)


if not hasattr(getattr(torch.ops, NAMESPACE), "mean_of_losses"):  # it is there when this module is loaded again
    namespace.define(f"mean_of_losses({_SIGNALS}) -> Tensor", tags=torch.Tag.flexible_layout)
    namespace.impl("mean_of_losses", _mean_of_losses, "CompositeImplicitAutograd")
mean_of_losses = getattr(torch.ops, NAMESPACE).mean_of_losses.default
