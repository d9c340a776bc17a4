"""Operators where nobody above could fall back: in compiled code and in backward passes. If ours fails there, the same
is made of torch's own functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from ..arguments import losses_of
from . import composite, composite_features, composite_kaldi, composite_losses

tell: Callable[[str, Exception], None] | None = None  # told of every failure; execution, which may warn, is above us


def survived(name: str, error: Exception, *arguments: Any) -> Any:
    """What the operator would have given. Raises torch's error where torch fails as well."""
    result = COMPOSITES[name](*arguments)
    tell_of(name, error)
    return result


def tell_of(name: str, error: Exception) -> None:
    if tell is not None:
        tell(name, error)


def surviving(name: str, body: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(body)
    def run(*arguments: Any) -> Tensor:
        try:
            return body(*arguments)
        except Exception as error:
            return survived(name, error, *arguments)

    return run


def _pulled(function: Callable[..., Tensor], at: Tensor, gradient: Tensor) -> Tensor:
    _, pull = torch.func.vjp(function, at)
    return pull(gradient)[0]


def _stft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    return composite.stft(_single(input), window, *arguments)


def _stft_adjoint(gradient: Tensor, window: Tensor, samples: int, *arguments: Any) -> Tensor:
    *arguments, complex_input = arguments
    dtype = torch.complex64 if complex_input else torch.float32
    at = gradient.new_zeros((gradient.shape[0], samples), dtype=dtype)
    return _pulled(lambda input: composite.stft(input, window, *arguments), at, gradient)


def _stft_window_gradient(gradient: Tensor, input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    return _pulled(lambda window: composite.stft(_single(input), window, *arguments), window, gradient)


def _istft_adjoint(gradient: Tensor, window: Tensor, frames: int, *shared: Any) -> Tensor:
    n_fft, *_, onesided, _ = shared
    shape = gradient.shape[0], n_fft // 2 + 1 if onesided else n_fft, frames
    at = gradient.new_zeros(shape, dtype=torch.complex64)
    function = partial(_inverse, gradient, shared)
    return _pulled(lambda input: function(input, window), at, gradient)


def _istft_window_gradient(gradient: Tensor, input: Tensor, window: Tensor, *shared: Any) -> Tensor:
    return _pulled(lambda window: _inverse(gradient, shared, composite.of_parts(input), window), window, gradient)


def _inverse(gradient: Tensor, shared: tuple, input: Tensor, window: Tensor) -> Tensor:
    return composite.istft(input, window, *shared, gradient.shape[1], gradient.is_complex())


def _features(input: Tensor, window: Tensor, basis: Tensor | None, *arguments: Any) -> Tensor:
    return composite_features.features(_single(input), window, basis, *arguments)


def _features_gradient(gradient: Tensor, input: Tensor, *rest: Any) -> Tensor:
    return _pulled(lambda input: _features(input, *rest), _single(input), gradient)


def _stft_loss_gradient(
    loss_gradient: Tensor | None, terms_gradient: Tensor | None, terms: Tensor, *rest: Any
) -> Tensor:
    return composite_losses.gradients(loss_gradient, terms_gradient, *rest)[0]


def _stft_losses(*arguments: Any) -> tuple[Tensor, Tensor]:
    *signals, losses = arguments
    return composite_losses.mean_with_worth(*signals, losses_of(losses))


def _stft_losses_gradient(mean_gradient: Tensor, terms: Tensor, *rest: Any) -> Tensor:
    *signals, losses = rest
    return composite_losses.gradients_of_mean(mean_gradient, *signals, losses_of(losses))[0]


def _single(input: Tensor) -> Tensor:
    return input if input.is_complex() else input.to(torch.float32)


COMPOSITES: dict[str, Callable[..., Any]] = {
    "stft": _stft,
    "stft_adjoint": _stft_adjoint,
    "stft_window_gradient": _stft_window_gradient,
    "istft": composite.istft,
    "istft_adjoint": _istft_adjoint,
    "istft_window_gradient": _istft_window_gradient,
    "features": _features,
    "features_gradient": _features_gradient,
    "kaldi": composite_kaldi.kaldi,
    "stft_loss": composite_losses.with_worth,
    "stft_loss_gradient": _stft_loss_gradient,
    "stft_losses": _stft_losses,
    "stft_losses_gradient": _stft_losses_gradient,
}
