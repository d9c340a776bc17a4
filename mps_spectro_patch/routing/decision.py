"""Looks at the arguments of one call and answers: the fast path (and with what arguments), or the original and why.

Pure functions: no side effects, no device work, nothing launched. Whatever torch would refuse or warn about goes to
the original, so that errors and warnings are torch's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from ..arguments import IstftArguments
from ..kernels import fft
from ..reasons import Call, Reason, Route
from ..tensors import wants_gradient
from .checks import TENSORS, check_istft, check_stft
from .context import active_transforms, copies_hidden_by_vmap, surroundings


def route_stft(
    input,
    n_fft,
    hop_length=None,
    win_length=None,
    window=None,
    center=True,
    pad_mode="reflect",
    normalized=False,
    onesided=None,
    return_complex=None,
    align_to_window=None,
    *,
    flags: tuple[str, ...] = ("is_mps",),
) -> Route:
    """How torch.stft with these arguments would go if tensors with one of `flags` are accelerated."""
    arguments = (
        input,
        n_fft,
        hop_length,
        win_length,
        window,
        center,
        pad_mode,
        normalized,
        onesided,
        return_complex,
        align_to_window,
    )
    return route("stft", flags, arguments)


def route_istft(
    input,
    n_fft,
    hop_length=None,
    win_length=None,
    window=None,
    center=True,
    normalized=False,
    onesided=None,
    length=None,
    return_complex=False,
    *,
    flags: tuple[str, ...] = ("is_mps",),
) -> Route:
    """How torch.istft with these arguments would go if tensors with one of `flags` are accelerated."""
    arguments = (input, n_fft, hop_length, win_length, window, center, normalized, onesided, length, return_complex)
    return route("istft", flags, arguments)


def route(op: str, flags: tuple[str, ...], arguments: tuple) -> Route:
    return dressed(op, decide(op, flags, arguments), arguments[0])


def dressed(op: str, decision: Call | Reason, input) -> Route:
    """A decision with everything that a reader wants to know."""
    device = str(getattr(input, "device", ""))
    if isinstance(decision, Reason):
        return Route(op, decision, device=device)
    return Route(op, None, decision.arguments, device, fft.describe(*decision.plan, decision.arguments.hop_length))


def decide(
    op: str, flags: tuple[str, ...], arguments: tuple, least_work: Callable[[str, torch.device], int] | None = None
) -> Call | Reason:
    """The operator's call, or the reason for the original: a Route without its dressing.

    least_work: the least work worth a kernel in eager calls without a gradient, by op and device.
    """
    input, window = arguments[0], arguments[4]
    reason = untouched(input, flags)
    if reason is not None:
        return reason
    transforms = active_transforms()
    reason = surroundings(input, window, transforms)
    if reason is not None:
        return reason
    if forward_ad._current_level >= 0:
        return Reason.FORWARD_AD
    check = check_stft if op == "stft" else check_istft
    if transforms:
        return check(*arguments, copies=copies_hidden_by_vmap(input, window))
    decision = check(*arguments)
    if least_work is None or isinstance(decision, Reason) or wants_gradient(input, window) or type(input) is FakeTensor:
        return decision
    return Reason.TUNED if _work(input, decision) < least_work(op, input.device) else decision


def _work(input: torch.Tensor, call: Call) -> int:
    """rows * frames * n_fft of a call that check_stft() or check_istft() let pass."""
    wanted = call.arguments
    if isinstance(wanted, IstftArguments):
        return (input.shape[0] if input.dim() == 3 else 1) * input.shape[-1] * wanted.n_fft
    rows = input.shape[0] if input.dim() == 2 else 1
    return rows * (1 + (input.shape[-1] + 2 * wanted.pad - wanted.n_fft) // wanted.hop_length) * wanted.n_fft


def decide_compiled(op: str, devices: tuple[str, ...], arguments: tuple) -> Call | Reason:
    """decide() in the words that torch.compile can trace, and traces to nothing. There is no mode or tracing there."""
    if not isinstance(arguments[0], torch.Tensor) or arguments[0].device.type not in devices:
        return Reason.DEVICE
    if active_transforms():
        return Reason.TRANSFORM
    if forward_ad._current_level >= 0:
        return Reason.FORWARD_AD
    return check_stft(*arguments) if op == "stft" else check_istft(*arguments)


def untouched(input, flags: tuple[str, ...]) -> Reason | None:
    """The reason why this input is not accelerated at all, or None. In few steps: every other call pays for them."""
    if type(input) not in TENSORS:
        return Reason.TYPE
    for flag in flags:
        if getattr(input, flag):
            return None
    return Reason.DEVICE
