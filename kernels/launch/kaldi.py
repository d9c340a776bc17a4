"""Launches of Kaldi's filterbank energies: one, and one more where the mean over time is subtracted. For smooth sizes
and narrow filterbanks; arguments must be valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from ..plans.frozen import hashed_once
from ..plans.plan import Plan, supports_real
from ..tables.filterbank import Bands
from ..tables.twiddles import pair_twiddles, stage_twiddles
from . import dispatch, features
from .dispatch import Recipe, gapless
from .params import FeatureScale, KaldiParams, KaldiScale, MeanParams
from .smooth_size import steps_of

KERNELS = ("msp_kaldi", "msp_subtract_mean")
MEAN_THREADS = 256  # as in subtract_mean.metal
_COLUMNS = 8
_START = 1 / 2  # see steps_of()
ENERGIES = {"": 0, "raw": 1, "windowed": 2}


@hashed_once
@dataclass(frozen=True)
class Kaldi:
    """Kaldi's options, see kernels/kaldi.metal; sizes in samples.

    snip_edges: only frames that lie within the signal; else one for every hop, and the ends are mirrored. log: of at
    least `amin`, else the energies as they are. energy: a feature of its own: "raw", behind the mean's removal,
    "windowed", or "" (none); its logarithm is at least `energy_floor`. subtract_mean: of every feature over time.
    """

    n_fft: int
    hop_length: int
    win_length: int
    snip_edges: bool
    remove_dc: bool
    preemphasis: float
    power: float
    log: bool
    amin: float
    energy: str
    energy_floor: float
    energy_last: bool
    subtract_mean: bool

    def frames(self, samples: int) -> int:
        if self.snip_edges:
            return 1 + (samples - self.win_length) // self.hop_length
        return (samples + self.hop_length // 2) // self.hop_length

    @property
    def start(self) -> int:
        """Position of the first frame in the signal."""
        return 0 if self.snip_edges else self.hop_length // 2 - self.win_length // 2


def supports_kaldi(n_fft: int, bands: Bands) -> bool:
    """Whether there is a kernel."""
    return supports_real(n_fft) and features.supports_features(n_fft, bands)


def kaldi(signal: torch.Tensor, window: torch.Tensor, wanted: Kaldi, bands: Bands) -> torch.Tensor:
    """[rows, frames, bands (and one if there is an energy)] float32 of signal, float32 [rows, samples]."""
    signal, window = gapless(signal), window.contiguous()
    rows, samples = signal.shape
    frames, width = wanted.frames(samples), bands.count + (wanted.energy != "")
    output = torch.empty((rows, frames, width), dtype=torch.float32, device=signal.device)
    if output.numel():
        _recipe(wanted, bands, rows, samples, signal.stride(0), signal.device)(signal, window, output)
        if wanted.subtract_mean:
            _mean(rows, frames, width, signal.device)(output)
    return output


def launched(n_fft: int, bands: int, power: float, log: bool) -> tuple[str, str, Plan]:
    """(name, defines, plan) of the kernel for a size that supports_kaldi() allows."""
    _, defines, plan = features.launched(n_fft, bands, False, power, scale="clamp" if log else "linear")
    return "msp_kaldi", defines, plan


@lru_cache(maxsize=256)
def _recipe(wanted: Kaldi, bands: Bands, rows: int, samples: int, row_stride: int, device: torch.device) -> Recipe:
    name, defines, plan = launched(wanted.n_fft, bands.count, wanted.power, wanted.log)
    frames = wanted.frames(samples)
    steps = steps_of(plan, rows * frames, device, _START)
    groups = -(-frames // (plan.frames * steps))
    rounds, layout, weights = bands.forward_tables(plan.lanes, device)
    params = KaldiParams(
        samples=samples, row_stride=row_stride, frames=frames, hop_length=wanted.hop_length, start=wanted.start,
        win_length=wanted.win_length, groups=groups, steps=steps, remove_dc=wanted.remove_dc,
        energy=ENERGIES[wanted.energy], energy_last=wanted.energy_last, width=bands.count, rounds=rounds, reach=0,
    )  # fmt: skip
    scale = FeatureScale(exponent=wanted.power / 2, eps=0.0, gain=1.0, amin=wanted.amin, factor=1.0, offset=0.0)
    stages, pairs = stage_twiddles(plan, device), pair_twiddles(plan.n_fft, plan.pair_bins, device)
    kaldi = KaldiScale(preemphasis=wanted.preemphasis, energy_floor=wanted.energy_floor)
    args = [None, None, stages, pairs, layout, weights, None, params, scale, kaldi]
    kernel = dispatch.kernel(name, defines, device.type)
    return dispatch.recipe(kernel, args, rows * groups, plan.threads, device)


@lru_cache(maxsize=256)
def _mean(rows: int, frames: int, width: int, device: torch.device) -> Recipe:
    groups = -(-width // _COLUMNS)
    kernel = dispatch.kernel("msp_subtract_mean", "", device.type)
    args = [None, MeanParams(width=width, frames=frames, groups=groups)]
    return dispatch.recipe(kernel, args, rows * groups, MEAN_THREADS, device)
