"""STFT losses: from two waveforms to numbers. One call, described by LossCall, is fused where there are kernels: on
devices as front_ends/compute.py has it, for float32 signals of one shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.compiler import is_compiling, is_dynamo_compiling

from .. import active, routing
from ..arguments import LossArguments
from ..execution import call_cache, call_sites, counters, launches, load_operators, parts, runner, trouble, verification
from ..kernels import hashed_once, stft_loss
from ..options import Options
from ..reasons import Reason
from ..tensors import PLAIN, wants_gradient
from . import compute
from .spec import remembered

TINY = torch.finfo(torch.float32).tiny  # below it, a GPU may take a number for zero


@hashed_once
@dataclass(frozen=True)
class LossCall:
    """All that describes a loss between the magnitudes x and y of input and target, except its tensors.

    Magnitudes are sqrt(max(|X|^2, eps)) of a centred transform with reflected ends. convergence, log, linear: weights
    of |y - x| / |y|, of the distance of log(factor * x + added) to that of y, and of the distance of x to y: absolute
    or `squared`, the mean over all bins, or the sum (not `mean`). per_row: convergence is the mean of the rows'
    quotients.
    """

    n_fft: int
    hop_length: int
    win_length: int
    eps: float
    convergence: float = 1.0
    log: float = 1.0
    linear: float = 0.0
    factor: float = 1.0
    added: float = 0.0
    squared: bool = False
    per_row: bool = False
    mean: bool = True

    def describe(self) -> str:
        return (
            f"STFT loss, n_fft={self.n_fft}, hop_length={self.hop_length}, "
            f"weights {self.convergence:g}, {self.log:g}, {self.linear:g}"
        )

    def arguments(self) -> LossArguments:
        """The arguments of the operator."""
        return LossArguments(
            self.n_fft, self.hop_length, self.win_length, self.n_fft // 2, "reflect", float(self.convergence),
            float(self.log), float(self.linear), float(self.eps), float(self.factor), float(self.added), self.squared,
            self.per_row, self.mean,
        )  # fmt: skip

    def has_usual_numbers(self) -> bool:
        """Whether kernels do these: else 0 / 0 or the logarithm of nothing can come up, which torch had better see."""
        numbers = self.eps, self.factor, self.added, self.convergence, self.log, self.linear
        return all(map(isfinite, numbers)) and self.eps >= TINY and self.factor > 0 and self.added >= 0


@remembered
def loss_call(*sizes: Any, **more: Any) -> LossCall:
    """A LossCall of these fields, the same for the same: calls are cached by it."""
    return _the_same(LossCall(*sizes, **more))


@remembered
def _the_same(call: LossCall) -> LossCall:
    """However its fields were given."""
    return call


def try_fused(
    x: Tensor, y: Tensor, window: Tensor, call: LossCall, name: str = "stft_loss"
) -> tuple[Tensor, Tensor] | None:
    """(the loss, its terms: convergence, log, linear and more) of x and y [..., time], or None where the kernels do not
    do this call. name: under which it is counted."""
    if is_dynamo_compiling():
        return _full_path(x, y, window, call, name, None)
    options = None
    try:
        options = active.options_here()
        answer = partial(_answer, x, y, window, call, name, options)
        if type(x) in PLAIN and (x.is_mps or call_sites.everything or (options is not None and options.concerns(x))):
            if call_sites.is_due(name):
                return call_sites.call(name, (x, call.n_fft, call.hop_length, call.win_length, None), answer)
        return answer()
    except Exception as error:
        if runner.goes_on(options, error):
            raise
        found = trouble.trouble_of(error)
    trouble.give_up(name, found)
    return None


@remembered
def mean_of(*calls: LossCall) -> tuple[LossCall, ...]:
    """The same tuple for the same calls: what try_mean() is cached by."""
    return calls


def try_mean(
    x: Tensor, y: Tensor, windows: Sequence[Tensor], calls: tuple[LossCall, ...], name: str, one: str = "stft_loss"
) -> Tensor | None:
    """The mean of the losses that mean_of() is of, between the same two signals, each of which is cached under the name
    `one`: with less work around the kernels than each for itself. None: each for itself.

    name: under which the mean is counted.
    """
    if is_dynamo_compiling():
        return None
    options = None
    try:
        options = active.options_here()
        key, known = _known_mean(x, y, windows, calls, name, one, options)
        if known is None:
            return None
        launch, first = partial(call_cache.launched, key, known, x, y, *windows), calls[0]
        if call_sites.is_due(name):
            return call_sites.call(name, (x, first.n_fft, first.hop_length, first.win_length, None), launch)
        return launch()
    except Exception as error:
        if runner.goes_on(options, error):
            raise
        found = trouble.trouble_of(error)
    trouble.give_up(name, found)
    return None


def _known_mean(
    x: Tensor, y: Tensor, windows: Sequence[Tensor], calls: tuple[LossCall, ...], name: str, one: str,
    options: Options | None,
) -> tuple[Any, call_cache.Known | None]:  # fmt: skip
    """Its key in the cache, and what is known of it: nothing before each of the losses is known."""
    entries = call_cache.entries
    key, known = call_cache.find_loss(name, options, calls, x, y, *windows)
    if key is None or known is not None:
        return key, known
    if len(calls) > stft_loss.LOSSES_MAX or any(tensor.is_neg() for tensor in (x, y, *windows)):
        return key, None
    for window, call in zip(windows, calls, strict=True):
        if call_cache.find_loss(one, options, call, x, y, window)[1] is None:
            return key, None
    launch = launches.ops.mean_of_losses.MeanOfLosses(x.shape, [call.arguments() for call in calls])
    known = call_cache.Known(name, launch, None, keep=calls)
    call_cache.remember(entries, key, known)
    return key, known


def apart(terms: Tensor, wanted: Sequence[int]) -> tuple[Tensor, ...]:
    """Some of the terms as numbers of their own, which the program may change in place."""
    if wanted and not is_compiling() and terms.requires_grad and torch.is_grad_enabled():
        try:
            return _Apart.apply(terms, tuple(wanted))
        except Exception as error:
            if runner.goes_on(active.options_here(), error):
                raise
            trouble.give_up("stft_loss", trouble.trouble_of(error))
    return tuple(terms[i] for i in wanted)


def weighted_terms(terms: Tensor, weights: Sequence[float]) -> list[Tensor | float]:
    """Each term as a number of its own, or, where its weight is 0, the float 0.0."""
    found = dict(zip(wanted := [i for i, weight in enumerate(weights) if weight], apart(terms, wanted), strict=True))
    return [found.get(i, 0.0) for i in range(len(weights))]


class _Apart(torch.autograd.Function):
    """As indices, whose gradients would take three launches each."""

    generate_vmap_rule = True

    @staticmethod
    def forward(terms, wanted):
        return tuple(terms[i].clone() for i in wanted)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.count, ctx.wanted = inputs[0].shape[0], inputs[1]

    @staticmethod
    def backward(ctx, *gradients):
        others = gradients[0].new_zeros(ctx.count)
        parts = {i: gradient.reshape(1) for i, gradient in zip(ctx.wanted, gradients, strict=True)}
        last = max(ctx.wanted) + 1
        return torch.cat([*(parts.get(i, others[:1]) for i in range(last)), others[last:]]), None


def _answer(
    x: Tensor, y: Tensor, window: Tensor, call: LossCall, name: str, options: Options | None
) -> tuple[Tensor, Tensor] | None:
    """A cached launch, or the full path."""
    entries = call_cache.entries
    key, known = call_cache.find_loss(name, options, call, x, y, window)
    if known is not None and (result := call_cache.launched(key, known, x, y, window)) is not None:
        return result
    return _full_path(x, y, window, call, name, None if key is None else (entries, key))


def _full_path(
    x: Tensor, y: Tensor, window: Tensor, call: LossCall, name: str, place: tuple | None
) -> tuple[Tensor, Tensor] | None:
    """place: in the cache, where such a call is to be remembered."""
    if x.dim() < 1 or not x.numel():
        return None
    reason = _why_composed(x, y, window, call)
    if reason is not None:
        if not is_compiling():
            counters.count(name, reason)
        return None
    rows = tuple(one.reshape(prod(one.shape[:-1]), one.shape[-1]) for one in (x, y))
    arguments = call.arguments()
    if is_compiling():
        return launches.ops.losses.stft_loss(*rows, window, *arguments)
    load_operators()
    losses, composite = launches.ops.losses, launches.ops.composite_losses
    transformed = torch._C._are_functorch_transforms_active()
    if transformed or torch._C._len_torch_dispatch_stack() or type(x) is FakeTensor:
        operator = losses.eager_stft_loss if transformed else losses.stft_loss
        return operator(*rows, window, *arguments)

    fused = partial(losses.eager_stft_loss, *rows, window, *arguments)

    def compared(result: tuple[Tensor, Tensor]) -> tuple[str, bool]:
        """Of signals whose comparison would need much memory, the first rows and samples."""
        signals, piece = rows, parts.beginning(rows[0], arguments)
        if piece is not rows[0]:
            signals = tuple(one[: piece.shape[0], : piece.shape[1]] for one in rows)
            result = losses.run_stft_loss(*signals, window, *arguments)
        loudest = float(signals[1].abs().max() * window.abs().sum())

        def judge(result: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> tuple[str, bool]:
            return verification.judge_loss(result[1], theirs[1], loudest, call.squared)

        def reference(*tensors: Tensor) -> tuple[Tensor, Tensor]:
            return composite.stft_loss(*tensors, *arguments)

        return verification.judge_by(name, judge, result, reference, (*signals, window))

    needs_gradient = wants_gradient(x, y, window)
    key = call, None, x.dtype, x.device, needs_gradient
    result, trusted = runner.call_front_end(name, active.options_here(), key, fused, compared, rows[0], lambda: None)
    if trusted and place is not None:
        again = losses.ready_stft_loss(rows[0].shape, needs_gradient, arguments)
        call_cache.remember(*place, call_cache.Known(name, again, None, keep=call))
    return result


def _why_composed(x: Tensor, y: Tensor, window: Tensor, call: LossCall) -> Reason | None:
    """Why the kernels are not to do this, or cannot."""
    reason = compute.why_composed(x, window)
    if reason is not None:
        return reason
    if any(one.dtype is not torch.float32 for one in (x, y, window)):
        return Reason.DTYPE
    if any(one.layout is not torch.strided for one in (x, y, window)):
        return Reason.LAYOUT
    if y.device != x.device or window.device != x.device or window.dim() != 1:
        return Reason.WINDOW if y.device == x.device else Reason.DEVICE
    if y.shape != x.shape:
        return Reason.SHAPE
    if max(map(_span, (x, y))) >= routing.ELEMENTS_MAX:
        return Reason.TOO_LARGE
    if not is_compiling():
        if type(y) not in routing.TENSORS or type(window) not in routing.TENSORS:
            return Reason.TYPE
        reason = routing.surroundings(y, window, routing.active_transforms())
    return reason or _obstacle(call, prod(x.shape[:-1]), x.shape[-1], window.shape[0])


def _span(signal: Tensor) -> int:
    """How far its last element is from its first in memory."""
    return sum((size - 1) * stride for size, stride in zip(signal.shape, signal.stride(), strict=True))


@remembered
def _obstacle(call: LossCall, rows: int, samples: int, window: int) -> Reason | None:
    if not _supports(call.n_fft):
        return Reason.N_FFT
    if not call.has_usual_numbers():
        return Reason.ARGUMENT
    return compute.obstacle(rows, samples, window, call.n_fft // 2 + 1, *call.arguments().framing())


def _supports(n_fft: int) -> bool:
    return stft_loss.supports_stft_loss(n_fft)


_supports._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a search that dynamo had better not trace
