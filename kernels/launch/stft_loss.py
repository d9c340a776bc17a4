"""Launches of the STFT losses: what is summed up over the magnitudes of two signals' spectra, without a spectrum or a
magnitude in memory, and the gradient. For smooth sizes; arguments must be valid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch

from ..plans.fft import istft_plan, stft_plan
from ..plans.frozen import hashed_once
from ..plans.geometry import PAD_MODES, StftGeometry
from ..plans.plan import Plan, defines, supports_real
from ..tables.twiddles import pair_twiddles, stage_twiddles
from . import dispatch
from .dispatch import Recipe, gapless, starts_at_pair
from .params import (
    StftLossFinishParams,
    StftLossGradientParams,
    StftLossMeanParams,
    StftLossParams,
    StftLossScale,
    StftLossWeights,
)
from .smooth_size import Kind, are_paired, has_gaps, inverse_params, is_paired, steps_of

KERNELS = ("msp_stft_loss", "msp_stft_loss_finish", "msp_stft_loss_gradient")
FINISH_THREADS, COPIED = 512, 8  # as in stft_loss_finish.metal
TERMS = 3  # convergence, log and linear
LOSSES_MAX = 64  # of a mean: all of what is said of them in numbers has to fit what Metal takes without a buffer


@hashed_once
@dataclass(frozen=True)
class Terms:
    """A loss between the magnitudes x of the input and y of the target, sqrt(max(|X|^2, eps)) each: the sum of

    convergence * |y - x| / |y|, the norms over everything, or, `per_row`, the mean of the rows' quotients,
    log * d(log(factor * x + added), log(factor * y + added)), and
    linear * d(x, y),

    d the mean distance over all bins (not `mean`: the sum), absolute or `squared`. eps and factor are positive.
    """

    convergence: float
    log: float
    linear: float
    eps: float
    factor: float = 1.0
    added: float = 0.0
    squared: bool = False
    per_row: bool = False
    mean: bool = True


class Place(NamedTuple):
    """Of one gradient among those of a mean of `losses`: where its terms begin, and whether it adds to those before."""

    first_term: int
    adds: bool
    losses: int


ALONE = Place(0, False, 1)


class Layout(NamedTuple):
    """Of two signals and a window in memory: paired is where two values may be read at once, of every frame."""

    input_stride: int
    target_stride: int
    paired_input: bool
    paired_target: bool
    win_length: int
    paired_window: bool

    def of_signals(self) -> dict[str, int]:
        return {
            name: getattr(self, name) for name in ("input_stride", "target_stride", "paired_input", "paired_target")
        }

    def of_window(self, n_fft: int) -> dict[str, int]:
        return {"win_left": (n_fft - self.win_length) // 2, "win_length": self.win_length}


def supports_stft_loss(n_fft: int) -> bool:
    """Whether there are kernels."""
    return supports_real(n_fft)


def stft_loss(
    input: torch.Tensor, target: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Terms
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the loss, its terms) of input and target, float32 [rows, samples], in two launches. window: win_length values,
    or n_fft, those around its middle being 0.

    The terms are convergence, log and linear, unweighted and zero where the weight is; behind them is what
    stft_loss_gradient() needs to know.
    """
    tensors = gapless(input), gapless(target), window.contiguous()
    known = ((geometry, wanted, _layout(*tensors, geometry)),)
    return _mean_launch(known, False, input.device)(*tensors[:2], tensors[2:])[:2]


def ready_mean(
    input: torch.Tensor, target: torch.Tensor, windows: Sequence[torch.Tensor],
    calls: Sequence[tuple[StftGeometry, Terms]], copies: bool = False,
) -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:  # fmt: skip
    """The mean of losses between the same two signals, of the same rows and samples, in one launch for each and one
    more: (the mean, the terms of all, and, if it `copies` the target, a copy of that).

    It is a function of input, target and windows that are laid out as these, which have no gaps.
    """
    known = tuple((*call, _layout(input, target, window, call[0])) for call, window in zip(calls, windows, strict=True))
    return _mean_launch(known, copies, input.device)


def stft_loss_gradient(
    loss_gradient: torch.Tensor | None, terms_gradient: torch.Tensor | None, terms: torch.Tensor, input: torch.Tensor,
    target: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Terms,
) -> torch.Tensor:  # fmt: skip
    """[rows, samples]: the gradient with respect to the input, for those of loss and terms, in one launch."""
    tensors = gapless(input), gapless(target), window.contiguous()
    given = loss_gradient is not None, terms_gradient is not None
    of_loss = terms if loss_gradient is None else loss_gradient.reshape(1)  # something with an address, not looked at
    of_terms = terms if terms_gradient is None else terms_gradient.contiguous()
    return ready_stft_loss_gradient(*tensors, geometry, wanted, given)(of_loss, of_terms, terms, *tensors)


def ready_stft_loss_gradient(
    input: torch.Tensor, target: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Terms,
    given: tuple[bool, bool],
) -> Callable[..., torch.Tensor]:  # fmt: skip
    """stft_loss_gradient() as a function of six tensors, all of them there: of tensors laid out as these, which have no
    gaps. given: whether the gradients of the loss and of the terms are looked at."""
    layout = _layout(input, target, window, geometry)
    recipe, leaves_gaps = _gradient_recipe(geometry, wanted, layout, given, ALONE, input.device)
    size = geometry.rows, geometry.samples

    def run(
        loss_gradient: torch.Tensor, terms_gradient: torch.Tensor, terms: torch.Tensor, input: torch.Tensor,
        target: torch.Tensor, window: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        output = input.new_empty(size)
        if leaves_gaps:
            output.zero_()
        recipe(window, output, input, target, terms, loss_gradient, terms_gradient)
        return output

    return run


def ready_mean_gradient(
    input: torch.Tensor, target: torch.Tensor, windows: Sequence[torch.Tensor],
    calls: Sequence[tuple[StftGeometry, Terms]],
) -> Callable[..., torch.Tensor]:  # fmt: skip
    """The gradient of what ready_mean() gives with respect to the input, in one launch for each loss, the later ones
    adding to the first: a function of the gradient of the mean, [1], the terms of all, input, target and windows."""
    # The first adds nothing: that of the shortest hop, whose samples the fewest threads add up.
    order = sorted(range(len(calls)), key=lambda number: calls[number][0].hop_length)
    first_terms = [0, *accumulate(terms_of(geometry.rows, wanted.per_row) for geometry, wanted in calls)]
    launches, gaps = [], False
    for number in order:
        (geometry, wanted), adds = calls[number], number != order[0]
        place = Place(first_terms[number], adds, len(calls))
        layout = _layout(input, target, windows[number], geometry)
        recipe, leaves_gaps = _gradient_recipe(geometry, wanted, layout, (True, False), place, input.device)
        launches.append((recipe, number))
        gaps = gaps or (leaves_gaps and not adds)
    size = calls[0][0].rows, calls[0][0].samples

    def run(
        mean_gradient: torch.Tensor, terms: torch.Tensor, input: torch.Tensor, target: torch.Tensor,
        windows: Sequence[torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        output = input.new_empty(size)
        if gaps:
            output.zero_()
        for recipe, number in launches:
            recipe(windows[number], output, input, target, terms, mean_gradient, terms)
        return output

    return run


def terms_of(rows: int, per_row: bool) -> int:
    """How many numbers stft_loss() leaves for its gradient."""
    return TERMS + (rows if per_row else 1)


def launched(n_fft: int, gradient: bool, wanted: Terms) -> tuple[str, str, Plan]:
    """(name, defines, plan) of the kernel for a size that supports_stft_loss() allows."""
    plan = istft_plan(n_fft) if gradient else stft_plan(n_fft)
    kind = Kind("msp_stft_loss_gradient" if gradient else "msp_stft_loss", adjoint=gradient)
    has_log = wanted.log != 0
    terms = defines(
        HAS_LOG=has_log, HAS_ADDED=has_log and wanted.added != 0, HAS_LINEAR=wanted.linear != 0, SQUARED=wanted.squared,
    )  # fmt: skip
    return kind.name, plan.defines() + kind.defines() + terms, plan


def _layout(input: torch.Tensor, target: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> Layout:
    first, second = (starts_at_pair(rows) and are_paired(geometry, rows.stride(0)) for rows in (input, target))
    return Layout(
        input.stride(0), target.stride(0), first, second, window.shape[0], is_paired(window, geometry.n_fft)
    )  # fmt: skip


def _numbers(geometry: StftGeometry, wanted: Terms, losses: int = 1) -> tuple[StftLossScale, StftLossWeights]:
    count = geometry.rows * geometry.bins * geometry.frames if wanted.mean else 1
    return (
        StftLossScale(eps=wanted.eps, factor=wanted.factor, added=wanted.added),
        StftLossWeights(
            convergence=wanted.convergence, log=wanted.log, linear=wanted.linear, count=count, losses=losses
        ),
    )


@lru_cache(maxsize=1024)
def _mean_launch(
    calls: tuple[tuple[StftGeometry, Terms, Layout], ...], copies: bool, device: torch.device
) -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """What ready_mean() says."""
    launches, each, first_sum, first_term = [], [], 0, 0
    for geometry, wanted, layout in calls:
        launch, groups = _sums_recipe(geometry, wanted, layout, first_sum, device)
        launches.append(launch)
        each.append(
            StftLossFinishParams(
                rows=geometry.rows, groups=groups, first_sum=first_sum, first_term=first_term, per_row=wanted.per_row
            )
        )
        first_sum += geometry.rows * groups
        first_term += terms_of(geometry.rows, wanted.per_row)
    geometry, _, layout = calls[0]
    parts = -(-geometry.samples // (COPIED * FINISH_THREADS))
    mean = StftLossMeanParams(
        losses=len(calls), samples=geometry.samples, target_stride=layout.target_stride, parts=parts
    )  # fmt: skip
    weights = [_numbers(geometry, wanted, len(calls))[1] for geometry, wanted, _ in calls]
    lists = ([number for one in group for number in one.packed()] for group in (each, weights))
    args = [None, None, None, None, None, mean, *lists]
    kernel = dispatch.kernel("msp_stft_loss_finish", "", device.type)
    groups = 1 + (geometry.rows * parts if copies else 0)
    finish = dispatch.recipe(kernel, args, groups, FINISH_THREADS, device)
    sums_of_all, terms_of_all, size = 4 * first_sum, first_term, (geometry.rows, geometry.samples)

    def run(
        input: torch.Tensor, target: torch.Tensor, windows: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        loss, terms, sums = input.new_empty(()), input.new_empty(terms_of_all), input.new_empty(sums_of_all)
        copy = input.new_empty(size) if copies else None
        for launch, window in zip(launches, windows):  # noqa: B905 (strict costs on the hot path)
            launch(input, target, window, sums)
        finish(sums, loss.view(1), terms, target, terms if copy is None else copy)
        return loss, terms, copy

    return run


def _sums_recipe(
    geometry: StftGeometry, wanted: Terms, layout: Layout, first_sum: int, device: torch.device
) -> tuple[Recipe, int]:
    """(the launch that sums up, its threadgroups per row)"""
    name, text, plan = launched(geometry.n_fft, False, wanted)
    steps = steps_of(plan, geometry.rows * geometry.frames, device)
    groups = -(-geometry.frames // (plan.frames * steps))
    params = StftLossParams(
        **layout.of_signals(), **layout.of_window(geometry.n_fft), paired_window=layout.paired_window,
        samples=geometry.samples, frames=geometry.frames, hop_length=geometry.hop_length, pad=geometry.pad,
        pad_mode=PAD_MODES[geometry.pad_mode], groups=groups, steps=steps, first_sum=first_sum,
    )  # fmt: skip
    stages, pairs = stage_twiddles(plan, device), pair_twiddles(plan.n_fft, plan.pair_bins, device)
    args = [None, None, None, stages, pairs, None, params, _numbers(geometry, wanted)[0]]
    kernel = dispatch.kernel(name, text, device.type)
    return dispatch.recipe(kernel, args, geometry.rows * groups, plan.threads, device), groups


@lru_cache(maxsize=1024)
def _gradient_recipe(
    geometry: StftGeometry, wanted: Terms, layout: Layout, given: tuple[bool, bool], place: Place, device: torch.device
) -> tuple[Recipe, bool]:
    """The launch, and whether it leaves samples unwritten that lie under no frame."""
    name, text, plan = launched(geometry.n_fft, True, wanted)
    covered = _under_window(plan, geometry)
    params = inverse_params(plan, covered, (0, 0, 0), layout.paired_window, device)
    params = replace(params, **layout.of_window(geometry.n_fft))
    own = StftLossGradientParams(
        **layout.of_signals(), skipped=geometry.pad - covered.pad, per_row=wanted.per_row,
        first_term=place.first_term, has_loss=given[0], has_terms=given[1], adds=place.adds,
    )  # fmt: skip
    stages, pairs = stage_twiddles(plan, device), pair_twiddles(plan.n_fft, plan.pair_bins, device)
    # What would be the spectrum and the envelope is not read. The kernel counts the bins between 0 and half twice.
    args = [
        pairs, None, stages, pairs, pairs, None, params, 0.5, None, None, None, None, None, own,
        *_numbers(geometry, wanted, place.losses),
    ]  # fmt: skip
    kernel = dispatch.kernel(name, text, device.type)
    groups = geometry.rows * params.groups
    return dispatch.recipe(kernel, args, groups, plan.threads, device), has_gaps(plan, geometry)


def _under_window(plan: Plan, geometry: StftGeometry) -> StftGeometry:
    """The same frames without the samples in front of the window and as many behind it, which add nothing."""
    skipped = geometry.win_left // 2 * 2
    if plan.overlap != "gather" or skipped > geometry.pad:
        return geometry
    n_fft = geometry.n_fft - 2 * skipped
    return replace(geometry, n_fft=n_fft, win_length=min(geometry.win_length, n_fft), pad=geometry.pad - skipped)
