"""Compares a fast result with the original's: of stft and istft with their gradients, and of front ends.

Where the two differ, the original is asked for the same on the CPU: torch's functions have given wrong results on GPUs
(irfft of odd sizes on MPS, pytorch issue 126649). A fast result that the CPU agrees with is right.

Only judges; what follows is execution/runner.py's business. verified: what was found right and is trusted by
verify="first". One kernel holds several ways through, so an odd hop is not vouched for by other calls.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..options import logger
from ..reasons import Call
from . import comparison, counters, launches
from .parts import Part, complex_result

Launch = Callable[[Tensor, "Tensor | None"], Tensor]
verified: set[Hashable] = set()
RELATIVE = 1e-3  # of linear features, L2; of logarithms the mean difference, in units of their factor


def is_due(verify: str, way: Hashable) -> bool:
    """Whether a call that goes this way is to be compared."""
    return verify == "always" or (verify == "first" and way not in verified)


def judge(
    op: str, part: Part, window: Tensor | None, call: Call, launch: Launch, result: Tensor, theirs: Tensor,
    on_cpu: Callable[[], Tensor],
) -> tuple[str, bool]:  # fmt: skip
    """(what is wrong with a part of the result, or nothing; whether there was anything to compare).

    result: of launch(input, window) for the whole call. theirs: the original's for the part. on_cpu(): what the
    original gives there for tensors on the CPU.
    """
    input, wanted = part.input, part.call.arguments
    needs_gradient = result.requires_grad
    if part.arguments is not None:
        result = complex_result(result, call)
        if result.shape[-1] != part.size:
            return f"shape {tuple(result.shape)} where the last should be {part.size}", True
        result, theirs = result[part.mine], theirs[part.theirs]
    finite = comparison.is_finite(input)
    used = launches.ones(wanted.win_length, input.device) if window is None else window
    everywhere = comparison.envelope(used, wanted, input.shape[-1]) if op == "istft" else None
    weight = None if everywhere is None else everywhere[part.theirs]

    def differs(one: Tensor, other: Tensor) -> str:
        return comparison.difference(one, other, weight, everywhere=finite)

    wrong = differs(result, theirs)
    if wrong:
        wrong = asked_on_cpu(op, wrong, differs, result, theirs, lambda: on_cpu()[part.theirs])
    if wrong or not finite:
        return wrong, bool(wrong)
    if needs_gradient:
        if part.arguments is not None or call.as_real:
            launch = partial(launches.again, op, part.call._replace(as_real=False))
        reference = partial(launches.composite, op, part.call)
        wrong = comparison.gradient_difference(launch, reference, input, used, everywhere)
    return wrong or "", True


def judge_by(
    name: str, judge: Callable[[Any, Any], tuple[str, bool]], result: Any, reference: Callable[..., Any],
    tensors: tuple[Tensor | None, ...],
) -> tuple[str, bool]:  # fmt: skip
    """judge(result, reference(*tensors)): what is wrong with the result, and whether there was anything to compare."""
    theirs = reference(*tensors)
    wrong, told = judge(result, theirs)
    if wrong:
        wrong = asked_on_cpu(
            name, wrong, lambda *pair: judge(*pair)[0], result, theirs, lambda: reference(*map(on_cpu, tensors))
        )
    return wrong, told


def asked_on_cpu(
    name: str, wrong: str, differs: Callable[[Any, Any], str], result: Any, theirs: Any, right: Callable[[], Any]
) -> str:
    """What is wrong with a result that differs from `theirs`: nothing, if it agrees with right(), torch's on the CPU.

    differs: what is wrong with its first argument as seen from the second, in words. wrong: differs(result, theirs).
    """
    title = counters.title(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch has given its own once
            reference = right()
            ours, torchs = (differs(on_cpu(one), reference) for one in (result, theirs))
    except Exception as error:
        logger.warning("%s cannot be asked for on the CPU: %s", title, error)
        return wrong
    if not ours:
        logger.warning("torch's own result of %s is wrong (%s from torch's on the CPU, with which the fast one agrees)",
                       title, torchs)  # fmt: skip
        return ""
    return f"{wrong}; torch's on the CPU agrees with neither: {ours}, and the original's {torchs}" if torchs else wrong


def on_cpu(value: Any) -> Any:
    """A tensor, or each tensor of a tuple, on the CPU, in single precision at least; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(on_cpu, value))
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu()
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def judge_front_end(result: Tensor, theirs: Tensor, scale: Any) -> tuple[str, bool]:
    """judge() of features on this Scale, without their gradients."""
    result, theirs = result.detach(), theirs.detach()
    if result.shape != theirs.shape:
        return f"shape {tuple(result.shape)} instead of {tuple(theirs.shape)}", True
    finite = result.isfinite() & theirs.isfinite()
    if not bool(finite.any()):
        return "", False
    apart = torch.where(finite, result - theirs, 0).abs()
    if scale.scale == "linear" and scale.deviation_eps is None:
        size = float(torch.where(finite, theirs, 0).norm())
        error = float(apart.norm()) / size if size else float(apart.max())
    else:
        unit = abs(scale.factor * scale.after_factor) if scale.deviation_eps is None else 1.0
        error = float(apart.mean()) / unit
    return ("" if error <= RELATIVE else f"error {error:.1e}"), True


def judge_loss(result: Tensor, theirs: Tensor, loudest: float, squared: bool) -> tuple[str, bool]:
    """judge() of an STFT loss: its terms convergence, log and linear. loudest: no magnitude is above that.

    What rounding makes of equal signals is allowed: of logarithms as in judge_front_end(), of others 1e-5 of the whole.
    """
    result, theirs = result.detach()[:3].tolist(), theirs.detach().tolist()
    allowed = 1e-5, RELATIVE, 1e-5 * loudest**2 if squared else 1e-5 * loudest
    for name, ours, right, noise in zip(("convergence", "log", "linear"), result, theirs, allowed, strict=True):
        if math.isfinite(right) != math.isfinite(ours) or abs(ours - right) > RELATIVE * abs(right) + noise:
            return f"{name} {ours:.6g} instead of {right:.6g}", True
    return "", any(map(math.isfinite, theirs))
