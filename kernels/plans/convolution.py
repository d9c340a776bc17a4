"""Transforms of any size: the points of the frame themselves, or a convolution in more of them (Bluestein's algorithm).

As in kernels/plans/plan.py, nothing here touches torch or a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from .plan import MIN_N_FFT, Plan, fitted, known_stages, supports_real

MAX_BLUESTEIN_POINTS = 4096  # two transforms of twice as many points, which threadgroup memory just holds


@dataclass(frozen=True)
class Transform:
    """How one frame of any size is transformed: `points` complex points, by `plan`.

    packed: two samples of a real frame are one point; bins: how many of the transform are wanted, of a real frame that
    is not packed one side; bluestein: as a convolution in `plan.half` points, at least points + bins - 1;
    points_max, bins_max: the most that the same kernel is for. folded: a real frame of odd n_fft is folded around its
    middle, sums and differences being one point. Then k and -k are both transformed for each of the `bins`, and give
    its magnitude together: that pays where few bins are wanted.
    """

    plan: Plan
    points: int
    bins: int
    packed: bool
    bluestein: bool
    points_max: int
    bins_max: int
    folded: bool = False

    @property
    def chirp_period(self) -> int:
        """n of the chirp e^{-2 pi i m^2 / n}."""
        return 2 * (2 * self.points - 1) if self.folded else 2 * self.points

    def defines(self) -> str:
        """The plan as preprocessor text, and what else of a transform a kernel is compiled for."""
        return f"{self.plan.defines()}#define MSP_POINTS_MAX {self.points_max}\n#define MSP_BINS_MAX {self.bins_max}\n"

    def describe(self) -> str:
        kind = f"Bluestein in {self.plan.half}" if self.bluestein else "x".join(map(str, self.plan.radices))
        return f"points={self.points} ({kind}) lanes={self.plan.lanes} frames={self.plan.frames}"


@cache
def transform(n_fft: int, complex_valued: bool, inverse: bool = False, used: int | None = None) -> Transform:
    """For a size that plans.fft.supports() allows. used: how many of a real frame's bins, from 0 on, are wanted, and
    only their magnitudes."""
    packed = not complex_valued and n_fft % 2 == 0
    points = n_fft // 2 if packed else n_fft
    bluestein = not supports_real(2 * points)
    one_sided = not complex_valued and not packed
    bins = points // 2 + 1 if one_sided else points
    size = _convolution(points + bins - 1, inverse) if bluestein else points
    points_max = size if not bluestein else (2 * size + 1) // 3 if one_sided else (size + 1) // 2
    bins_max = points_max // 2 + 1 if one_sided else points_max
    folded = False
    if bluestein and one_sided and used is not None and used < bins:
        less = _convolution(max(n_fft + 1, 4 * (used - 1)), inverse)
        if folded := less < size:
            size, points, bins, points_max, bins_max = less, (n_fft + 1) // 2, used, less // 2, less // 4 + 1
    radices, lanes, mirrored = known_stages(2 * size)
    radices = radices if mirrored else radices[::-1]  # the largest first
    return Transform(fitted(2 * size, radices, lanes), points, bins, packed, bluestein, points_max, bins_max, folded)


@cache
def _convolution(least: int, inverse: bool) -> int:
    """Points of the transforms that make a convolution of `least` points: of few sizes, so that many share a kernel.

    H100, the log-mel of 1000 frames in microseconds: 14 in 1152 points, 15 in 1280, 16 in 2048; 22 in 2304, 26 in 2560,
    29 in 3072, 36 in 4096. Others between them save nothing, nor do smaller ones. istft is slower in 1152 points (153
    against 138) and in 2304, and faster in 3072 (126 against 142).
    """
    power = max(MIN_N_FFT, 1 << (least - 1).bit_length())
    sizes = [power]
    if power >= 2048 and not inverse:
        sizes += [power * 9 // 16, power * 5 // 8]
    if power >= 4096:
        sizes.append(power * 3 // 4)
    return min(size for size in sizes if size >= least)
