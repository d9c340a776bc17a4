"""Launches of the STFT losses: what is summed up over the magnitudes of two signals' spectra, without a spectrum or a
magnitude in memory, and the gradient. For smooth sizes; arguments must be valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch

from ..plans.fft import istft_plan, stft_plan
from ..plans.frozen import hashed_once
from ..plans.geometry import PAD_MODES, StftGeometry
from ..plans.plan import Plan, defines, supports_real
from ..tables.twiddles import pair_twiddles, stage_twiddles
from . import dispatch
from .dispatch import Recipe, gapless, starts_at_pair
from .params import StftLossFinishParams, StftLossGradientParams, StftLossParams, StftLossScale, StftLossWeights
from .smooth_size import Kind, are_paired, has_gaps, inverse_params, is_paired, steps_of

KERNELS = ("msp_stft_loss", "msp_stft_loss_finish", "msp_stft_loss_gradient")
FINISH_THREADS = 512  # as in stft_loss_finish.metal
TERMS = 3  # convergence, log and linear


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
    """Of one loss among several: whether it adds to those before, and by what the sum is divided behind it."""

    adds: bool
    losses: int


ALONE = Place(False, 1)


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
    return ready_stft_loss(*tensors, geometry, wanted)(*tensors)


def ready_stft_loss(
    input: torch.Tensor, target: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, wanted: Terms,
    place: Place = ALONE,
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:  # fmt: skip
    """stft_loss() as a function of the three tensors, which are laid out as these and have no gaps, and of the loss
    before if its place is behind another."""
    recipe, finish, groups = _recipes(geometry, wanted, _layout(input, target, window, geometry), place, input.device)
    count = TERMS + (geometry.rows if wanted.per_row else 1)

    def run(
        input: torch.Tensor, target: torch.Tensor, window: torch.Tensor, before: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sums, terms = input.new_empty((groups, 4)), input.new_empty(count)
        loss = input.new_empty(1) if before is None else before.view(1)
        recipe(input, target, window, sums)
        finish(sums, loss, terms)
        return loss.view(()), terms

    return run


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
    recipe, leaves_gaps = _gradient_recipe(geometry, wanted, layout, given, input.device)
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
def _recipes(
    geometry: StftGeometry, wanted: Terms, layout: Layout, place: Place, device: torch.device
) -> tuple[Recipe, Recipe, int]:
    """(the launch that sums up, the one that finishes, how many sums are between them)."""
    name, text, plan = launched(geometry.n_fft, False, wanted)
    scale, weights = _numbers(geometry, wanted, place.losses)
    steps = steps_of(plan, geometry.rows * geometry.frames, device)
    per_row = -(-geometry.frames // (plan.frames * steps))
    params = StftLossParams(
        **layout.of_signals(), **layout.of_window(geometry.n_fft), paired_window=layout.paired_window,
        samples=geometry.samples, frames=geometry.frames, hop_length=geometry.hop_length, pad=geometry.pad,
        pad_mode=PAD_MODES[geometry.pad_mode], groups=per_row, steps=steps,
    )  # fmt: skip
    stages, pairs = stage_twiddles(plan, device), pair_twiddles(plan.n_fft, plan.pair_bins, device)
    args = [None, None, None, stages, pairs, None, params, scale]
    groups = geometry.rows * per_row
    sums = dispatch.recipe(dispatch.kernel(name, text, device.type), args, groups, plan.threads, device)
    finishing = StftLossFinishParams(rows=geometry.rows, groups=per_row, per_row=wanted.per_row, adds=place.adds)
    kernel = dispatch.kernel("msp_stft_loss_finish", "", device.type)
    finish = dispatch.recipe(kernel, [None, None, None, finishing, weights], 1, FINISH_THREADS, device)
    return sums, finish, groups


@lru_cache(maxsize=1024)
def _gradient_recipe(
    geometry: StftGeometry, wanted: Terms, layout: Layout, given: tuple[bool, bool], device: torch.device
) -> tuple[Recipe, bool]:
    """The launch, and whether it leaves samples unwritten that lie under no frame."""
    name, text, plan = launched(geometry.n_fft, True, wanted)
    covered = _under_window(plan, geometry)
    params = inverse_params(plan, covered, (0, 0, 0), layout.paired_window, device)
    params = replace(params, **layout.of_window(geometry.n_fft))
    own = StftLossGradientParams(
        **layout.of_signals(), skipped=geometry.pad - covered.pad, per_row=wanted.per_row,
        has_loss=given[0], has_terms=given[1],
    )  # fmt: skip
    stages, pairs = stage_twiddles(plan, device), pair_twiddles(plan.n_fft, plan.pair_bins, device)
    # What would be the spectrum and the envelope is not read. The kernel counts the bins between 0 and half twice.
    args = [
        pairs, None, stages, pairs, pairs, None, params, 0.5, None, None, None, None, None, own,
        *_numbers(geometry, wanted),
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
