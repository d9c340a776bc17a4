"""Derivatives of the operators, to any order, and how they are called in eager mode and under functorch.

For a real inner product <a, b> = Re sum(conj(a) b), stft gives the form F(x, w, G) = <G, stft(x, w)>, which is linear
in each argument. Its three partial gradients are three operators, stft (in G), stft_adjoint (in x) and
stft_window_gradient (in w), and so the derivatives of each of them are the other two. The same holds for istft in the
spectrum and G. The window is also in the envelope; second derivatives of that are left to torch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..arguments import StftArguments
from ..tensors import wants_gradient
from . import composite, operators, surviving
from .eager import Ways, is_transformed, kept, needs_operator


def run(name: str, *arguments: Any) -> Tensor:
    """An operator in a backward pass."""
    return WAYS[name].backward(*arguments)


def _save(ctx: Any, first: Tensor, second: Tensor) -> None:
    """Of two factors, each is saved if the gradient of the other is needed."""
    needs_first, needs_second = ctx.needs_input_grad[:2]
    ctx.save_for_backward(first if needs_second else None, second if needs_first else None)


def is_looked_at_again(call: StftArguments) -> bool:
    """Whether torch's backward pass looks at the signal: its derivatives of these paddings do. So a change of the
    signal in place in the meantime is an error, and a gradient can be differentiated by the signal: it is zero."""
    return call.pad_mode in ("reflect", "replicate")


def tied(gradient: Tensor, input: Tensor | None, call: StftArguments) -> Tensor:
    """The gradient of a signal, as a function of the signal where it is one to torch."""
    try:
        is_loose = input is None or not is_looked_at_again(call) or not wants_gradient(input)
        return gradient if is_loose or needs_operator(gradient) or is_transformed() else _Tied.apply(gradient, input)
    except Exception as error:  # the gradient is right without it
        surviving.tell_of("stft_adjoint", error)
        return gradient


class _Tied(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gradient, input):
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, torch.zeros_like(gradient)


def _like_window(ctx: Any, window: Tensor | None, gradient: Tensor) -> Tensor:
    """The window, or zeros of its type and length where its values do not matter."""
    return gradient.new_zeros(ctx.win_length, dtype=ctx.window_dtype) if window is None else window


def _stft_setup(ctx, inputs, output) -> None:
    input, window, *arguments = inputs
    ctx.arguments, ctx.samples, ctx.dtype = arguments, input.shape[1], input.dtype
    ctx.win_length, ctx.window_dtype = window.shape[0], window.dtype
    needs_input, needs_window = ctx.needs_input_grad[:2]
    is_kept = needs_window or is_looked_at_again(StftArguments(*arguments))
    ctx.save_for_backward(input if is_kept else None, window if needs_input else None)


def _stft_backward(ctx, gradient):
    input, window = ctx.saved_tensors
    results = [None, None]
    if ctx.needs_input_grad[0]:
        results[0] = run("stft_adjoint", gradient, window, ctx.samples, *ctx.arguments, ctx.dtype.is_complex)
        results[0] = tied(results[0].to(ctx.dtype), input, StftArguments(*ctx.arguments))
    if ctx.needs_input_grad[1]:
        window = _like_window(ctx, window, gradient)
        results[1] = run("stft_window_gradient", gradient, input, window, *ctx.arguments)
    return *results, *[None] * len(ctx.arguments)


def _stft_adjoint_setup(ctx, inputs, output) -> None:
    gradient, window, samples, *arguments, complex_input = inputs
    ctx.arguments = arguments
    ctx.win_length, ctx.window_dtype = window.shape[0], window.dtype
    _save(ctx, gradient, window)


def _stft_adjoint_backward(ctx, input):
    gradient, window = ctx.saved_tensors
    results = [None, None]
    if ctx.needs_input_grad[0]:
        results[0] = run("stft", input, window, *ctx.arguments)
    if ctx.needs_input_grad[1]:
        results[1] = run("stft_window_gradient", gradient, input, _like_window(ctx, window, gradient), *ctx.arguments)
    return *results, None, *[None] * len(ctx.arguments), None


def _stft_window_gradient_setup(ctx, inputs, output) -> None:
    gradient, input, window, *arguments = inputs
    ctx.arguments, ctx.samples, ctx.dtype = arguments, input.shape[1], input.dtype
    _save(ctx, gradient, input)


def _stft_window_gradient_backward(ctx, window):
    gradient, input = ctx.saved_tensors
    results = [None, None]
    if ctx.needs_input_grad[0]:
        results[0] = run("stft", input, window, *ctx.arguments)
    if ctx.needs_input_grad[1]:
        results[1] = run("stft_adjoint", gradient, window, ctx.samples, *ctx.arguments, ctx.dtype.is_complex)
        results[1] = results[1].to(ctx.dtype)
    return *results, None, *[None] * len(ctx.arguments)


def _istft_setup(ctx, inputs, output) -> None:
    input, window, *arguments, length, return_complex = inputs
    ctx.arguments, ctx.frames = arguments, input.shape[2]
    if ctx.needs_input_grad[1] and needs_operator(input):
        # In a compiled graph: inductor (torch 2.11, on a GPU) fails where it has to keep a sum of complex numbers.
        input = torch.view_as_real(input.resolve_conj() if input.is_conj() else input)
    ctx.save_for_backward(input if ctx.needs_input_grad[1] else None, window)


def _istft_backward(ctx, gradient):
    input, window = ctx.saved_tensors
    results = [None, None]
    if ctx.needs_input_grad[0]:
        results[0] = run("istft_adjoint", gradient, window, ctx.frames, *ctx.arguments)
    if ctx.needs_input_grad[1]:
        results[1] = run("istft_window_gradient", gradient, input, window, *ctx.arguments)
    return *results, *[None] * len(ctx.arguments), None, None


def _istft_adjoint_setup(ctx, inputs, output) -> None:
    gradient, window, frames, *arguments = inputs
    ctx.arguments, ctx.length, ctx.dtype = arguments, gradient.shape[1], gradient.dtype
    ctx.save_for_backward(gradient if ctx.needs_input_grad[1] else None, window)


def _istft_adjoint_backward(ctx, input):
    gradient, window = ctx.saved_tensors
    results = [None, None]
    if ctx.needs_input_grad[0]:
        results[0] = run("istft", input, window, *ctx.arguments, ctx.length, ctx.dtype.is_complex)
    if ctx.needs_input_grad[1]:
        results[1] = run("istft_window_gradient", gradient, input, window, *ctx.arguments)
    return *results, None, *[None] * len(ctx.arguments)


def _istft_window_gradient_setup(ctx, inputs, output) -> None:
    gradient, input, window, *arguments = inputs
    ctx.arguments = arguments
    ctx.save_for_backward(gradient, input, window)


def _istft_window_gradient_backward(ctx, cotangent):
    """By torch's own functions and torch.func, so that transforms and further derivatives work."""
    gradient = ctx.saved_tensors[0]
    length, is_complex = gradient.shape[1], gradient.is_complex()

    def window_gradient(gradient, input, window):
        signal = partial(composite.istft, composite.of_parts(input))
        _, pull = torch.func.vjp(lambda window: signal(window, *ctx.arguments, length, is_complex), window)
        return pull(gradient)[0]

    _, pull = torch.func.vjp(window_gradient, *ctx.saved_tensors)
    wanted = zip(pull(cotangent), ctx.needs_input_grad[:3], strict=True)
    return *(one if needed else None for one, needed in wanted), *[None] * len(ctx.arguments)


WAYS = {
    name: Ways(
        name, getattr(operators, f"run_{name}"), globals()[f"_{name}_setup"], globals()[f"_{name}_backward"],
        with_rows=0 if name.endswith("window_gradient") else 1,
    )
    for name in operators.NAMES
}  # fmt: skip


def eager_stft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """stft of plain tensors or functorch's, while nothing is traced or compiled. arguments: StftArguments."""
    if wants_gradient(input, window) and not is_transformed():
        call = StftArguments(*arguments)
        if wants_gradient(window) and call.pad and not (input.requires_grad and is_looked_at_again(call)):
            input = input.clone()  # torch keeps the padded signal, so the program may change its own in place
        window = kept(window, call.n_fft)
    return WAYS["stft"].forward(input, window, *arguments)


def eager_istft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """istft likewise. arguments: IstftArguments. Raises UseOriginal if torch must decide whether it can be inverted."""
    if wants_gradient(input, window) and not is_transformed():
        if wants_gradient(window):
            input = input.clone()  # torch keeps what it made of the spectrum
        window = kept(window, arguments[0])
    return WAYS["istft"].forward(input, window, *arguments)
