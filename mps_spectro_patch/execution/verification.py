"""Compares a fast result with the original's: of stft and istft with their gradients, and of front ends.

Only judges; what follows is execution/runner.py's business. verified: what was found right and is trusted by
verify="first". One kernel holds several ways through, so an odd hop is not vouched for by other calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..options import logger
from ..reasons import Call
from . import comparison, launches
from .parts import Part, complex_result

Launch = Callable[[Tensor, "Tensor | None"], Tensor]
verified: set[Hashable] = set()
RELATIVE = 1e-3  # of linear features, L2; of logarithms the mean difference, in units of their factor


def is_due(verify: str, way: Hashable) -> bool:
    """Whether a call that goes this way is to be compared."""
    return verify == "always" or (verify == "first" and way not in verified)


def judge(
    op: str, part: Part, window: Tensor | None, call: Call, launch: Launch, result: Tensor, theirs: Tensor
) -> tuple[str, bool]:
    """(what is wrong with a part of the result, or nothing; whether there was anything to compare).

    result: of launch(input, window) for the whole call. theirs: the original's for the part.
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
    wrong = comparison.difference(result, theirs, weight, everywhere=finite)
    if wrong and op == "istft" and _ends_leak(result, theirs, weight, finite, part, used):
        wrong = ""
    if wrong or not finite:
        return wrong, bool(wrong)
    if needs_gradient:
        if part.arguments is not None or call.as_real:
            launch = partial(launches.again, op, part.call._replace(as_real=False))
        reference = partial(launches.composite, op, part.call)
        wrong = comparison.gradient_difference(launch, reference, input, used, everywhere)
    return wrong or "", True


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


def _ends_leak(result: Tensor, theirs: Tensor, weight: Tensor, finite: bool, part: Part, window: Tensor) -> bool:
    """Whether all that is wrong is what torch's irfft makes of imaginary parts that it documents as ignored: those of
    bin 0 and of half an even n_fft. cuFFT lets them through at some sizes (pytorch issue 154496)."""
    input, n_fft, onesided = part.input, part.call.arguments.n_fft, part.call.arguments.onesided
    if not onesided or result.is_complex():
        return False
    with torch.no_grad():
        right = launches.composite("istft", part.call, comparison.with_real_ends(input, n_fft), window)[part.theirs]
        if right.shape != theirs.shape:
            return False
        right = torch.empty_like(theirs).copy_(right)  # in the original's memory order
    if comparison.difference(result, right, weight, everywhere=finite):
        return False
    leak = f"torch.istft on {input.device} counts imaginary parts of the first and the last bin at n_fft={n_fft}"
    logger.info("%s; the fast one ignores them, as torch documents it", leak)
    return True
