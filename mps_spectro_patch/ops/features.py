"""The operator of the front ends: spectrogram, filterbank and scale of real signals, with derivatives and batching.

features(x, window, basis) = factor * log(...) or itself of basis @ ((|stft(x)|^power + eps) * gain), see
kernels/launch/features.py. Gradients are fused too where there is a kernel; second derivatives are made of torch's own
functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..arguments import FeatureArguments, schema
from ..kernels import Bands, StftGeometry, bands_of, feature_passes
from ..kernels import features as kernels
from ..tensors import has_bits, wants_gradient
from . import composite_features, gradients
from .eager import Ways, is_plain, is_transformed, kept
from .operators import define

_FIELDS = tuple(field.name for field in fields(kernels.Features))


def run_features(input: Tensor, window: Tensor, basis: Tensor | None, *arguments: Any) -> Tensor:
    """[rows, samples] to [rows, width, frames]. arguments: FeatureArguments.

    One launch; with a basis that is not banded, one launch and a matrix product.
    """
    geometry, wanted = _described(*input.shape, *arguments)
    bands, dense = _bands(basis, geometry, False)
    input, window = input.resolve_neg(), window.resolve_neg()  # the kernels read memory
    if not dense:
        return kernels.features(input, window, geometry, wanted, bands)
    call = FeatureArguments(*arguments)
    power = run_features(input, window, None, *call.linear(min(basis.shape[1], geometry.bins)))
    return composite_features.finished(composite_features.product(basis, power), call)


def run_features_gradient(
    gradient: Tensor, input: Tensor, window: Tensor, basis: Tensor | None, *arguments: Any
) -> Tensor:
    """From the gradient of the features to that of the input, [rows, samples]. arguments: FeatureArguments."""
    geometry, wanted = _described(*input.shape, *arguments)
    bands, dense = _bands(basis, geometry, True)
    input, window, gradient = input.resolve_neg(), window.resolve_neg(), gradient.resolve_neg()
    if dense:
        call, columns = FeatureArguments(*arguments), min(basis.shape[1], geometry.bins)
        linear = call.linear(columns)
        value = composite_features.product(basis, run_features(input, window, None, *linear))
        gradient = composite_features.scaled_gradient(value, gradient, *call.scaling())
        gradient = composite_features.product(basis[:, :columns].t(), gradient)
        wanted = _described(*input.shape, *linear)[1]
    return kernels.features_gradient(gradient, input, window, geometry, wanted, bands)


def ready_features(
    input: Tensor, window: Tensor, basis: Tensor | None, rows_per_item: int, below: float | None, factor: float,
    offset: float, deviation_eps: float | None, *arguments: Any,
) -> Callable[[Tensor, Tensor], Tensor] | None:  # fmt: skip
    """features() and what the scale asks for behind it, as a function of input and window alone, for tensors of this
    layout: a floor `below` the largest of each item, zero mean and unit deviation. None: the basis is not banded."""
    geometry, wanted = _described(*input.shape, *arguments)
    bands, dense = _bands(basis, geometry, False)
    if dense:
        return None
    run = kernels.ready_features(input, window, geometry, wanted, bands, rows_per_item, below, factor, offset)
    if deviation_eps is None:
        return run

    def standardised(input: Tensor, window: Tensor) -> Tensor:
        values = run(input, window)
        feature_passes.standardise(values, deviation_eps)
        return values

    return standardised


def recorded_features(
    input: Tensor, window: Tensor, basis: Tensor | None, *arguments: Any
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor] | None:
    """features() with the gradient of its input, likewise, as a function of input, window and basis, which has the same
    values. None: the basis is not banded."""
    geometry, wanted = _described(*input.shape, *arguments)
    bands, dense = _bands(basis, geometry, False)
    if dense or _bands(basis, geometry, True)[1]:
        return None
    run = kernels.ready_features(input, window, geometry, wanted, bands)

    def backward(gradient: Tensor, input: Tensor, window: Tensor) -> Tensor:
        return kernels.features_gradient(gradient, input, window, geometry, wanted, bands)

    return lambda *tensors: _Recorded.apply(*tensors, run, backward, arguments)


class _Recorded(torch.autograd.Function):
    """Both passes of a known call. A backward pass that is itself recorded, transformed or seen by a mode, and one that
    fails, is the operator's."""

    @staticmethod
    def forward(ctx, input, window, basis, run, backward, arguments):
        ctx.run, ctx.arguments, ctx.dtype = backward, arguments, input.dtype
        ctx.save_for_backward(input, kept(window, arguments[0]), basis)
        return run(input, window)

    @staticmethod
    def backward(ctx, gradient):
        tensors = input, window, basis = ctx.saved_tensors
        result = None
        try:
            if is_plain(gradient) and not has_bits(gradient):
                result = ctx.run(gradient, input, window)
        except Exception:  # the operator meets it again and handles it
            result = None
        if result is None:
            result = WAYS["features_gradient"].backward(gradient, *tensors, *ctx.arguments)
        return result.to(ctx.dtype), None, None, None, None, None


@lru_cache(maxsize=1024)
def _described(rows: int, samples: int, *arguments: Any) -> tuple[StftGeometry, kernels.Features]:
    call = FeatureArguments(*arguments)
    wanted = kernels.Features(**{name: getattr(call, name) for name in _FIELDS})
    return StftGeometry(rows, samples, *call.stft()), wanted


def _bands(basis: Tensor | None, geometry: StftGeometry, gradient: bool) -> tuple[Bands | None, bool]:
    """(the banded filterbank, if the kernels can use it; whether a matrix product is needed instead)."""
    if basis is None:
        return None, False
    bands = bands_of(basis, geometry.bins)
    if bands is None or not kernels.supports_features(geometry.n_fft, bands, gradient):
        return None, True
    return bands, False


def _fake_features(input, window, basis, *arguments):
    call = FeatureArguments(*arguments)
    frames = 1 + (input.shape[1] + 2 * call.pad - call.n_fft) // call.hop_length - call.dropped
    shape = input.shape[0], call.width, frames
    return input.new_empty_strided(shape, kernels.strides_of(call.width, frames, call.contiguous), dtype=torch.float32)


def _fake_features_gradient(gradient, input, window, basis, *rest):
    return input.new_empty(input.shape, dtype=torch.float32)


_INPUTS = f"Tensor input, Tensor window, Tensor? basis, {schema(FeatureArguments)}"
define("features", _INPUTS, run_features, _fake_features)
define("features_gradient", f"Tensor gradient, {_INPUTS}", run_features_gradient, _fake_features_gradient)


def _setup(ctx, inputs, output) -> None:
    input, window, basis, *arguments = inputs
    ctx.call, ctx.dtype = FeatureArguments(*arguments), input.dtype
    ctx.save_for_backward(input, window, basis)


def _backward(ctx, gradient):
    input, window, basis = ctx.saved_tensors
    results = [None, None, None]
    if ctx.needs_input_grad[0]:
        results[0] = WAYS["features_gradient"].backward(gradient, input, window, basis, *ctx.call).to(ctx.dtype)
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        results[1:] = _other_gradients(ctx, gradient, input, window, basis)
    return *results, *[None] * len(ctx.call)


def _other_gradients(ctx, gradient, input, window, basis):
    """Gradients of window and basis, which are seldom learned: by differentiable steps, with a spectrum in memory."""
    call = ctx.call
    spectrum = gradients.run("stft", input, window, *call.stft())
    kept = spectrum[..., : spectrum.shape[-1] - call.dropped]
    columns = call.width if basis is None else basis.shape[1]
    powers = composite_features.resized(composite_features.powers(kept, *call.powers()), columns)
    value = powers if basis is None else composite_features.product(basis, powers)
    gradient = composite_features.scaled_gradient(value, gradient, *call.scaling())
    results = [None, None]
    if ctx.needs_input_grad[2]:
        results[1] = torch.einsum("rbf,rkf->bk", gradient, powers)
    if ctx.needs_input_grad[1]:
        if basis is not None:
            gradient = composite_features.product(basis.t(), gradient)
        gradient = composite_features.resized(gradient, spectrum.shape[1])
        gradient = torch.nn.functional.pad(gradient, (0, call.dropped))
        gradient = composite_features.powers_gradient(spectrum, gradient, *call.powers())
        results[0] = gradients.run("stft_window_gradient", gradient, input, window, *call.stft())
    return results


def _setup_gradient(ctx, inputs, output) -> None:
    gradient, input, window, basis, *ctx.arguments = inputs
    ctx.save_for_backward(gradient, input, window, basis)


def _backward_gradient(ctx, cotangent):
    """By torch's own functions and torch.func, so that transforms and further derivatives work."""
    gradient, input, window, basis = ctx.saved_tensors
    tensors = [gradient, input.to(torch.float32), window, *([] if basis is None else [basis])]

    def input_gradient(gradient, input, window, basis=None):
        _, pull = torch.func.vjp(lambda x: composite_features.features(x, window, basis, *ctx.arguments), input)
        return pull(gradient)[0]

    _, pull = torch.func.vjp(input_gradient, *tensors)
    found = [*pull(cotangent), None][:4]
    found[1] = found[1].to(input.dtype)
    wanted = zip(found, ctx.needs_input_grad[:4], strict=True)
    return *(one if needed else None for one, needed in wanted), *[None] * len(ctx.arguments)


WAYS = {
    "features": Ways("features", run_features, _setup, _backward, 1),
    "features_gradient": Ways("features_gradient", run_features_gradient, _setup_gradient, _backward_gradient, 2),
}
features = WAYS["features"].operator


def eager_features(input: Tensor, window: Tensor, basis: Tensor | None, *arguments: Any) -> Tensor:
    """features of plain tensors or functorch's, while nothing is traced or compiled."""
    if wants_gradient(input, window, basis) and not is_transformed():
        window = kept(window, arguments[0])
    return WAYS["features"].forward(input, window, basis, *arguments)
