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
from .checks import TENSORS, check_istft, check_stft
from .context import active_transforms, copies_hidden_by_vmap, surroundings

# Asked on every call: found once.
_function_modes, _tracing_state = torch._C._len_torch_function_stack, torch._C._get_tracing_state


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


def decide(op: str, flags: tuple[str, ...], arguments: tuple) -> Call | Reason:
    """The operator's call, or the reason for the original: a Route without its dressing."""
    reason = untouched(arguments[0], flags)
    return decide_touched(op, arguments) if reason is None else reason


def decide_touched(
    op: str, arguments: tuple, signature: tuple | None = None, known: Call | Reason | None = None
) -> Call | Reason:
    """decide() for an input that untouched() lets pass. signature, known: of look_up(), if it was asked."""
    input, window = arguments[0], arguments[4]
    # A function mode, or a trace, would see us look.
    if signature is None and type(input) is not FakeTensor and not _function_modes() and _tracing_state() is None:
        signature, known = look_up(arguments)
    if type(known) is Reason:  # then the original is right, whatever is going on
        return known
    transforms = active_transforms()
    reason = surroundings(input, window, transforms)
    if reason is not None:
        return reason
    check = check_stft if op == "stft" else check_istft
    # What no signature holds is looked at every time; the rest of the answer is remembered.
    if forward_ad._current_level >= 0:
        return Reason.FORWARD_AD
    if transforms:
        return check(*arguments, copies=copies_hidden_by_vmap(input, window))
    if signature is None:
        return check(*arguments)
    if known is None:
        known = check(*arguments)
        if _least_work is not None and isinstance(known, Call) and _work(input, known) < _least_work(op, input.device):
            # Not remembered: whether a gradient is wanted, where a kernel saves most, is not in the signature.
            return known if _wants_gradient(input, window) else Reason.TUNED
        if len(_answers) >= _ANSWERS_MAX:
            _answers.clear()
        _answers[signature] = known
    return known


def look_up(arguments: tuple) -> tuple[tuple | None, Call | Reason | None]:
    """(what an answer depends on, as far as it can be remembered; the answer that was given to such a call before).

    The first is None for what cannot be looked up. An answer is always the same object, until it is forgotten.
    """
    input, window = arguments[0], arguments[4]
    try:
        signature = (
            input.shape, input.stride(), input.dtype, input.device, input.layout,
            None if window is None else (window.shape, window.dtype, window.device, window.layout),
            arguments[1:4], arguments[5:], tuple(map(type, arguments)),
        )  # fmt: skip
        return signature, _answers.get(signature)
    except (RuntimeError, TypeError, AttributeError):  # a tensor without strides, a list instead of an int, ...
        return None, None


# Answers by signature; the two functions differ in the number of their arguments. Types are part of a signature
# because 1, 1.0 and True are equal, and torch takes them differently.
_answers: dict[tuple, Call | Reason] = {}
_ANSWERS_MAX = 4096
# The least work worth a kernel in calls without a gradient, by op and device. None: nobody measured it
# (execution/tuning.py).
_least_work: Callable[[str, torch.device], int] | None = None


def set_rule(least_work: Callable[[str, torch.device], int] | None) -> bool:
    """Which eager calls are too small from now on: those with fewer rows * frames * n_fft than `least_work` says.
    Whether that is news."""
    global _least_work
    if least_work is _least_work:
        return False
    _least_work = least_work
    _answers.clear()
    return True


def _work(input: torch.Tensor, call: Call) -> int:
    """rows * frames * n_fft of a call that check_stft() or check_istft() let pass."""
    wanted = call.arguments
    if isinstance(wanted, IstftArguments):
        return (input.shape[0] if input.dim() == 3 else 1) * input.shape[-1] * wanted.n_fft
    rows = input.shape[0] if input.dim() == 2 else 1
    return rows * (1 + (input.shape[-1] + 2 * wanted.pad - wanted.n_fft) // wanted.hop_length) * wanted.n_fft


def _wants_gradient(input: torch.Tensor, window: torch.Tensor | None) -> bool:
    return torch.is_grad_enabled() and (input.requires_grad or (window is not None and window.requires_grad))


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
    """The reason why this input is none of our business, in the fewest steps: this is what every other call pays."""
    if type(input) not in TENSORS:
        return Reason.TYPE
    for flag in flags:
        if getattr(input, flag):
            return None
    return Reason.DEVICE
