"""Looks at the arguments of one call and answers: the fast path (and with what arguments), or the original and why.

Pure functions: no side effects, no device work, nothing launched. Whatever torch would refuse or warn about goes to
the original, so that errors and warnings are torch's own.
"""

from __future__ import annotations

import operator
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
from .sizes import with_plain_sizes

_CHECKS = {"stft": check_stft, "istft": check_istft}


def dressed(op: str, decision: Call | Reason, input) -> Route:
    """A decision with everything that a reader wants to know."""
    device = str(getattr(input, "device", ""))
    if isinstance(decision, Reason):
        return Route(op, decision, device=device)
    return Route(op, None, decision.arguments, device, fft.describe(*decision.plan, decision.arguments.hop_length))


def decide(
    op: str, flags: tuple[str, ...], arguments: tuple, least_work: Callable[[str, torch.device], int] | None = None
) -> Call | Reason:
    """The operator's call, or the reason for the original.

    least_work: the least work worth a kernel in eager calls without a gradient, by op and device.
    """
    input, window = arguments[0], arguments[4]
    if type(input) not in TENSORS:
        return Reason.TYPE
    if not any(getattr(input, flag) for flag in flags):
        return Reason.DEVICE
    transforms = active_transforms()
    reason = surroundings(input, window, transforms)
    if reason is not None:
        return reason
    if forward_ad._current_level >= 0:
        return Reason.FORWARD_AD
    arguments = with_plain_sizes(op, arguments)
    if transforms:
        return _CHECKS[op](arguments, copies_hidden_by_vmap(input, window))
    decision = _CHECKS[op](arguments)
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
    input, n_fft, hop_length, win_length, *others = arguments
    return _CHECKS[op]((input, _known(n_fft), _known(hop_length), _known(win_length), *others))


def _known(size):
    """torch.compile may take a size that varies for a symbol. Kernels are made for numbers, as torch's own are; another
    number is then compiled anew."""
    return operator.index(size) if type(size) is int else size
