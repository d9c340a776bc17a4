"""The operator of the front ends: spectrogram, filterbank and scale of real signals, with derivatives and batching.

features(x, window, basis) = factor * log(...) or itself of basis @ ((|stft(x)|^power + eps) * gain), see
kernels/launch/features.py. Its gradients take the fused way where there is a kernel; second derivatives are made of
torch's
own functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch

from ..kernels import Bands, StftGeometry, bands_of, feature_passes
from ..kernels import features as kernels
from . import composite_features, gradients
from .eager import Ways
from .operators import NAMESPACE, define, namespace

ARGUMENTS = (
    "SymInt n_fft, SymInt hop_length, SymInt win_length, SymInt pad, str pad_mode, SymInt width, SymInt dropped, "
    "float power, float eps, float gain, str scale, float amin, float factor, float offset"
)

_geometry = lru_cache(maxsize=1024)(StftGeometry)
_features = lru_cache(maxsize=1024)(kernels.Features)


def run_features(
    input: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, *arguments: Any
) -> torch.Tensor:
    """[rows, samples] to [rows, width, frames], frame by frame in memory: one launch, or with a basis that is not
    banded one launch and a product."""
    geometry, wanted = _call(input, *arguments)
    bands, dense = _bands(basis, geometry, False)
    input, window = input.resolve_neg(), window.resolve_neg()  # the kernels read memory
    if not dense:
        return kernels.features(input, window, geometry, wanted, bands)
    power = run_features(input, window, None, *_linear(arguments, _columns(basis, geometry)))
    return composite_features.scaled(composite_features.product(basis, power), *arguments[10:])


def run_features_gradient(
    gradient: torch.Tensor, input: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, *arguments: Any
) -> torch.Tensor:
    """The gradient [rows, samples] of the input, for that of the features."""
    geometry, wanted = _call(input, *arguments)
    bands, dense = _bands(basis, geometry, True)
    input, window, gradient = input.resolve_neg(), window.resolve_neg(), gradient.resolve_neg()
    if dense:
        columns = _columns(basis, geometry)
        power = run_features(input, window, None, *_linear(arguments, columns))
        value = composite_features.product(basis, power)
        gradient = composite_features.scaled_gradient(value, gradient, *arguments[10:13])
        gradient = composite_features.product(basis[:, :columns].t(), gradient)
        arguments = _linear(arguments, columns)
        wanted = _call(input, *arguments)[1]
    return kernels.features_gradient(gradient, input, window, geometry, wanted, bands)


def run_limited_features(
    input: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, rows_per_item: int, below: float,
    factor: float, offset: float, *arguments: Any,
) -> torch.Tensor | None:  # fmt: skip
    """features() with a floor under the largest of every item in a second launch; None where a product makes them."""
    geometry, wanted = _call(input, *arguments)
    bands, dense = _bands(basis, geometry, False)
    if dense:
        return None
    return kernels.limited_features(
        input.resolve_neg(), window.resolve_neg(), geometry, wanted, bands, rows_per_item, below, factor, offset
    )


def ready_features(
    input: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, rows_per_item: int, below: float | None,
    factor: float, offset: float, deviation_eps: float | None, *arguments: Any,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:  # fmt: skip
    """A function of input and window that launches again what they would be launched with, or None."""
    geometry, wanted = _call(input, *arguments)
    bands, dense = _bands(basis, geometry, False)
    if dense:
        return None
    run = kernels.ready_features(input, window, geometry, wanted, bands, rows_per_item, below, factor, offset)
    if deviation_eps is None:
        return run

    def standardised(input: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        values = run(input, window)
        feature_passes.standardise(values, deviation_eps)
        return values

    return standardised


def _call(
    input, n_fft, hop_length, win_length, pad, pad_mode, width, dropped, power, eps, gain, scale, amin, factor, offset
) -> tuple[StftGeometry, kernels.Features]:
    rows, samples = input.shape
    geometry = _geometry(rows, samples, n_fft, hop_length, win_length, pad, pad_mode, False)
    return geometry, _features(width, power, eps, gain, scale, amin, factor, offset, dropped)


def _bands(basis: torch.Tensor | None, geometry: StftGeometry, gradient: bool) -> tuple[Bands | None, bool]:
    """(the narrow filterbank if it is one, whether a dense product is needed)."""
    if basis is None:
        return None, False
    bands = bands_of(basis, geometry.bins)
    if bands is None or not kernels.supports_features(geometry.n_fft, bands, gradient):
        return None, True
    return bands, False


def _columns(basis: torch.Tensor, geometry: StftGeometry) -> int:
    return min(basis.shape[1], geometry.bins)


def _linear(arguments: tuple, width: int) -> tuple:
    """The same call for `width` bins of the spectrogram as they are."""
    return *arguments[:5], width, *arguments[6:10], "linear", 1.0, 1.0, 0.0


def _fake_features(input, window, basis, n_fft, hop_length, win_length, pad, pad_mode, width, dropped, *rest):
    frames = 1 + (input.shape[1] + 2 * pad - n_fft) // hop_length - dropped
    shape = input.shape[0], width, frames
    return input.new_empty_strided(shape, (frames * width, 1, width), dtype=torch.float32)


def _fake_features_gradient(gradient, input, window, basis, *rest):
    return input.new_empty(input.shape, dtype=torch.float32)


_BODIES = {
    "features": (run_features, _fake_features, f"(Tensor input, Tensor window, Tensor? basis, {ARGUMENTS})"),
    "features_gradient": (
        run_features_gradient, _fake_features_gradient,
        f"(Tensor gradient, Tensor input, Tensor window, Tensor? basis, {ARGUMENTS})",
    ),
}  # fmt: skip
for _name, (_body, _fake, _inputs) in _BODIES.items():
    define(f"{_name}{_inputs} -> Tensor")
    namespace.impl(_name, _body, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{_name}", _fake, lib=namespace)


def _setup(ctx, inputs, output) -> None:
    input, window, basis, *ctx.arguments = inputs
    ctx.dtype = input.dtype
    ctx.save_for_backward(input, window, basis)


def _backward(ctx, gradient):
    input, window, basis = ctx.saved_tensors
    arguments = tuple(ctx.arguments)
    results = [None, None, None]
    if ctx.needs_input_grad[0]:
        results[0] = WAYS["features_gradient"].backward(gradient, input, window, basis, *arguments).to(ctx.dtype)
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        results[1:] = _other_gradients(ctx, gradient, input, window, basis, arguments)
    return *results, *[None] * len(arguments)


def _other_gradients(ctx, gradient, input, window, basis, arguments):
    """Of window and basis, which are seldom learned: from a spectrum in memory, in differentiable pieces."""
    n_fft, hop_length, win_length, pad, pad_mode, width, dropped, power, eps, gain, scale, amin, factor, _ = arguments
    spectrum = gradients.run("stft", input, window, n_fft, hop_length, win_length, pad, pad_mode, False, True)
    kept = spectrum[..., : spectrum.shape[-1] - dropped]
    columns = width if basis is None else basis.shape[1]
    powers = composite_features.resized(composite_features.powers(kept, power, eps, gain), columns)
    value = powers if basis is None else composite_features.product(basis, powers)
    gradient = composite_features.scaled_gradient(value, gradient, scale, amin, factor)
    results = [None, None]
    if ctx.needs_input_grad[2]:
        results[1] = torch.einsum("rbf,rkf->bk", gradient, powers)
    if ctx.needs_input_grad[1]:
        if basis is not None:
            gradient = composite_features.product(basis.t(), gradient)
        gradient = composite_features.resized(gradient, spectrum.shape[1])
        gradient = torch.nn.functional.pad(gradient, (0, dropped))
        gradient = composite_features.powers_gradient(spectrum, gradient, power, eps, gain)
        results[0] = gradients.run(
            "stft_window_gradient", gradient, input, window, n_fft, hop_length, win_length, pad, pad_mode, False, True
        )
    return results


def _setup_gradient(ctx, inputs, output) -> None:
    gradient, input, window, basis, *ctx.arguments = inputs
    ctx.save_for_backward(gradient, input, window, basis)


def _backward_gradient(ctx, cotangent):
    """By torch's own functions and torch.func, which works inside other transforms and under any further derivative."""
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


def _vmap(function: Any, count: int) -> Any:
    """The rule of torch.func.vmap: a batch is more rows, unless window or basis differ within it. count: tensors that
    have rows."""

    def rule(info: Any, in_dims: tuple, *arguments: Any):
        if any(dim is not None for dim in in_dims[count:]):
            pairs = list(zip(arguments, in_dims, strict=True))
            results = [
                function(*(a if dim is None else a.select(dim, index) for a, dim in pairs))
                for index in range(info.batch_size)
            ]
            return torch.stack(results), 0
        folded = []
        for tensor, dim in zip(arguments[:count], in_dims[:count], strict=True):
            batched = tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            folded.append(batched.reshape(-1, *batched.shape[2:]))
        result = function(*folded, *arguments[count:])
        return result.unflatten(0, (info.batch_size, -1)), 0

    return rule


WAYS: dict[str, Ways] = {}
for _name, _body, _to_setup, _to_backward, _count in (
    ("features", run_features, _setup, _backward, 1),
    ("features_gradient", run_features_gradient, _setup_gradient, _backward_gradient, 2),
):
    _operator, _rule = getattr(getattr(torch.ops, NAMESPACE), _name).default, partial(_vmap, count=_count)
    WAYS[_name] = Ways(_name, _operator, _body, _to_setup, _to_backward, _rule)
    torch.library.register_autograd(f"{NAMESPACE}::{_name}", _to_backward, setup_context=_to_setup, lib=namespace)
    torch.library.register_vmap(f"{NAMESPACE}::{_name}", _rule(_operator), lib=namespace)

features, eager_features = WAYS["features"].operator, WAYS["features"].forward
