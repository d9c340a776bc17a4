"""Is a fast result as right as the original's? Results, gradients, and where they can be compared at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from .passing import passes

# Two correct float32 transforms differ by about 1e-7; a wrong index or a lost bin by about 1.
TOLERANCE = 1e-4
TINY = 1e-30


@torch.no_grad()
def difference(result: Tensor, reference: Tensor, weight: Tensor | None = None, everywhere: bool = True) -> str:
    """What is wrong with `result`, in words; empty if it is another correct rounding of `reference`.

    everywhere: `result` must be finite wherever `reference` is. Not so for input with NaN or infinities: which outputs
    of a frame they reach depends on the factors that an FFT multiplies by.
    """
    if _layout(result) != _layout(reference):
        return f"{_describe(result)} instead of {_describe(reference)}"
    got, want = _as_real(result), _as_real(reference)
    finite = torch.isfinite(want) if everywhere else torch.isfinite(want) & torch.isfinite(got)
    if result.is_complex():  # what an infinite real part leaves in the imaginary one depends on the order of sums
        finite = finite.all(-1, keepdim=True)
    got, want = torch.where(finite, got, 0), torch.where(finite, want, 0)
    if weight is not None:
        weight = weight.to(got.device)
        weight = weight.unsqueeze(-1) if result.is_complex() else weight
        got, want = got * weight, want * weight
    worst, relative, scale = _distances(got, want)
    if scale <= TINY:
        return "" if worst <= 1 else "not zero where the original is"
    if worst <= TOLERANCE and relative <= TOLERANCE:  # false for NaN as well
        return ""
    return f"largest error {worst:.1e} of the largest value, relative L2 error {relative:.1e}"


def gradient_difference(
    fast: Callable, reference: Callable, input: Tensor, window: Tensor, weight: Tensor | None
) -> str | None:
    """What is wrong with the gradients of fast(input, window), in words, empty if nothing is, or None: cannot tell.

    The gradient that goes in is the result itself (times the squared weight): so the gradients that come out do not
    vanish. reference: what fast should be, with a batch dimension; it is only asked on the CPU, because MPS pads
    wrongly in its backward pass from 65,537 samples on, and CUDA refuses some of it in deterministic mode.
    """
    with torch.enable_grad(), nobody_elses_hooks():
        ours = {"input": _leaf(input), "window": _leaf(window)}
        names = [name for name, tensor in ours.items() if tensor.requires_grad]
        result = fast(*ours.values())
        cotangent = result.detach()
        if weight is not None:  # where the envelope almost vanishes, rounding is as large as the result
            cotangent = cotangent * weight.to(cotangent.device).square()
        cotangent = cotangent.cpu()
        scale = float(_as_real(cotangent).abs().amax())
        if not TINY < scale < 1 / TINY:  # silence says nothing about gradients; nor does NaN
            return None
        cotangent = cotangent / scale
        got = torch.autograd.grad(result, [ours[name] for name in names], cotangent.to(result.device))
        theirs = {name: _wide(tensor) for name, tensor in ours.items()}
        try:
            want = torch.autograd.grad(reference(*theirs.values()), [theirs[name] for name in names], cotangent)
        except (RuntimeError, NotImplementedError) as error:
            if passes(error):
                raise
            return None  # torch cannot
    for name, mine, right in zip(names, got, want, strict=True):
        wrong = _gradient_is_wrong(mine, right)
        if wrong:
            return f"gradient of the {name}: {wrong}"
    return ""


@torch.no_grad()
def envelope(window: Tensor, arguments: tuple, frames: int) -> Tensor:
    """The sum of squared windows that istft divides by, largest value 1: the weight at which samples are comparable.

    Where the envelope is small (torch lets 1e-11 pass) the division magnifies rounding in any correct istft. Where no
    frame reaches, the output is zero, and the weight 1.
    """
    n_fft, hop, win, start, *_, samples, _ = arguments
    left = (n_fft - win) // 2
    window = window.detach().cpu().resolve_conj().resolve_neg()
    squares = torch.nn.functional.pad(window.to(torch.complex128).square(), (left, n_fft - win - left))
    ones = torch.ones(1, 1, frames, dtype=torch.float64, device="cpu")
    parts = torch.view_as_real(squares).T.unsqueeze(1).contiguous()  # [2, 1, n_fft]: real and imaginary squares
    total = torch.nn.functional.conv_transpose1d(ones, parts.transpose(0, 1), stride=hop)[0]
    part = torch.hypot(total[0], total[1])[start : start + samples]
    weight = (part / part.amax()).float().nan_to_num()
    return torch.nn.functional.pad(weight, (0, samples - weight.numel()), value=1.0)


def is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(_as_real(tensor.detach())).all())


def _gradient_is_wrong(got: Tensor, want: Tensor) -> str:
    if got.shape != want.shape or got.is_complex() != want.is_complex():
        return f"{_describe(got)} instead of {_describe(want)}"
    tolerance = TOLERANCE
    if got.dtype.itemsize == 2:
        limits = torch.finfo(got.dtype)
        tolerance += 2 * limits.eps
        got, want = got.clamp(limits.min, limits.max), want.clamp(limits.min, limits.max)
    got, want = _as_real(got.detach().cpu()).float(), _as_real(want.detach()).float()
    finite = torch.isfinite(want)
    _, relative, scale = _distances(torch.where(finite, got, 0), torch.where(finite, want, 0))
    return "" if relative <= tolerance or scale <= TINY else f"relative L2 error {relative:.1e}"


def _distances(got: Tensor, want: Tensor) -> tuple[float, float, float]:
    """(largest error as part of the largest value, relative L2 error, largest value), safe from overflow."""
    scale = want.abs().amax().clamp(min=TINY)
    error, size = (got - want) / scale, want / scale
    relative = error.square().mean().sqrt() / size.square().mean().sqrt().clamp(min=TINY)
    return float(error.abs().amax()), float(relative), float(scale)


def nobody_elses_hooks() -> AbstractContextManager:
    """No saved_tensors_hooks but ours, which do nothing: those of the program must not see what is saved here."""
    if torch._C._autograd._saved_tensors_hooks_is_enabled():
        return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
    return nullcontext()


def _leaf(tensor: Tensor) -> Tensor:
    """The same values without a history and without hooks."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _wide(tensor: Tensor) -> Tensor:
    """The same on the CPU, in single precision at least, and without a history."""
    wide = tensor.detach().cpu()
    wide = wide.float() if wide.dtype.itemsize == 2 else wide
    return wide.requires_grad_(tensor.requires_grad)


def _as_real(tensor: Tensor) -> Tensor:
    """The numbers, complex ones as pairs. Those of MPS on the CPU: some versions of torch lack complex operations there
    or have them wrong, and this is where they must be right."""
    tensor = tensor.cpu() if tensor.is_mps else tensor
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _layout(tensor: Tensor) -> tuple:
    """Type, shape and the strides that matter."""
    strides = tuple(stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1)
    return tensor.dtype, tensor.shape, strides


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)} with strides {tensor.stride()}"
