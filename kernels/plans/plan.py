"""The plan of one FFT that is compiled into a kernel: its stages, and how a threadgroup shares the work.

Knows the limits of the kernels, and which sizes the stages of a threadgroup can do. Nothing here touches torch or a
device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from math import gcd
from typing import Any

from .frozen import hashed_once

MIN_N_FFT = 16
MAX_N_FFT = 16_384
MAX_VALUES = 16  # complex registers per lane: more would spill on Apple GPUs
THREADGROUP_BYTES = 32_768
GROUP_THREADS = 128  # 8 simdgroups per threadgroup lost 25 to 50 % on an H100, 2 to 4 were best
RADICES = (16, 15, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2)
STAGES_MAX = 6
SPARE_MOST = 8  # at most one spare element of exchange memory for so many others


@lru_cache(maxsize=4096)
def supports_real(n_fft: int) -> bool:
    """Whether the kernels of smooth sizes have this one: even, 16 to 16384, half of it a product of 2, 3, 5 and 7.

    Above 8192 that is where the lanes of a threadgroup hold all values in the stages of some order of radices.
    """
    return n_fft % 2 == 0 and MIN_N_FFT <= n_fft <= MAX_N_FFT and _stages(n_fft) is not None


@hashed_once
@dataclass(frozen=True)
class Plan:
    """How one threadgroup transforms frames of `n_fft` real samples as `half` complex ones.

    radices: stages in the order they run; lanes: threads per frame; frames: frames in flight per threadgroup;
    mirrored: bins k and half - k end in one lane, so the real post-pass needs no exchange (forward only);
    split: exchange real parts, then imaginary parts, through half the memory; spread: exchanges leave elements of it
    spare, so that lanes do not meet in its banks; overlap: where the inverse keeps unfinished samples ("gather",
    "ring", "device", "registers"; "" when forward); shift: by how many registers a hop moves them ("registers").
    """

    n_fft: int
    radices: tuple[int, ...]
    lanes: int
    frames: int
    split: bool
    spread: bool = True
    mirrored: bool = False
    overlap: str = ""
    shift: int = 0

    @property
    def half(self) -> int:
        return self.n_fft // 2

    @property
    def inverse(self) -> bool:
        return bool(self.overlap)

    @property
    def threads(self) -> int:
        return self.lanes * self.frames

    @property
    def pairs(self) -> int:
        """Pairs (k, half - k) of the packed spectrum, all lanes together."""
        return (self.half + 1) // 2

    @property
    def pair_bins(self) -> int:
        """Bins k a lane may start a pair from: the lower half, or all of them where a lane owns both ends. Lanes that
        have no pair are counted."""
        return self.half if self.mirrored else -(-self.pairs // self.lanes) * self.lanes

    @cached_property
    def values(self) -> int:
        """Complex registers a lane holds at most."""
        per_stage = [radix * -(-(self.half // radix) // self.lanes) for radix in self.radices]
        return max(*per_stage, 2 * -(-self.pairs // self.lanes))

    @property
    def exchange_size(self) -> int:
        """Elements of exchange memory per frame (float2, or float when split), spare ones included."""
        size = max([self.half, *(self.half + (self.half - 1) // every * count for every, count in self.spares)])
        if self.spread and self.lanes < self.banks:  # frames that are exchanged side by side: none where another is
            size += (self.lanes - size) % (2 * self.lanes)
        return size

    @property
    def banks(self) -> int:
        """Elements that are read or written at once from as many banks."""
        return 32 if self.split else 16

    @property
    def spares(self) -> list[tuple[int, int]]:
        """For the exchange behind each stage but the last: (every so many elements, so many spare ones)."""
        found, before = [], 1
        for radix in self.radices[:-1]:
            found.append(_spare(before, before * radix, self.banks) if self.spread else (1, 0))
            before *= radix
        return found

    @property
    def threadgroup_bytes(self) -> int:
        ring = 4 * self.n_fft if self.overlap in ("gather", "ring") else 8 * (self.frames - 1) * self.waiting
        exchange = self.frames * self.exchange_size * (4 if self.split else 8)
        return -(-exchange // 16) * 16 + -(-ring // 16) * 16

    @property
    def reach(self) -> int:
        """Hops that a frame covers, the last perhaps in part ("registers")."""
        return -(-self.radices[-1] // self.shift) if self.shift else 1

    @property
    def waiting(self) -> int:
        """Pairs of samples in the hops of a frame but one ("registers")."""
        return (self.reach - 1) * self.shift * (self.half // self.radices[-1])

    def describe(self) -> str:
        kind = f"istft-{self.overlap}" if self.inverse else "stft"
        stages = "x".join(map(str, self.radices))
        shift = f" shift={self.shift}" if self.shift else ""
        return f"{kind} n_fft={self.n_fft} radices={stages} lanes={self.lanes} frames={self.frames}{shift}"

    def defines(self) -> str:
        """The plan as preprocessor text, to stand in front of the kernel's source."""
        overlap = {"": 0, "gather": 0, "ring": 1, "device": 2, "registers": 3}[self.overlap]
        radices = (*self.radices, *[1] * STAGES_MAX)[:STAGES_MAX]  # 1: the stages that the plan has not
        spares = (*self.spares, *[(1, 0)] * STAGES_MAX)[: STAGES_MAX - 1]
        return defines(
            N_FFT=self.n_fft, LANES=self.lanes, FRAMES=self.frames, STAGES=len(self.radices),
            **{f"RADIX_{stage}": radix for stage, radix in enumerate(radices)},
            **{f"EVERY_{stage}": every for stage, (every, _) in enumerate(spares)},
            **{f"SPARE_{stage}": count for stage, (_, count) in enumerate(spares)},
            LAST_RADIX=self.radices[-1], VALUES=self.values, MIRRORED=self.mirrored, OVERLAP=overlap, SHIFT=self.shift,
            SPLIT=self.split, EXCHANGE_SIZE=self.exchange_size,
        )  # fmt: skip


def defines(**values: int | str) -> str:
    """Preprocessor text: MSP_NAME for every value, flags as 0 or 1."""
    return "".join(f"#define MSP_{name} {value if isinstance(value, str) else int(value)}\n"
                   for name, value in values.items())  # fmt: skip


def unfitted(
    n_fft: int, radices: tuple[int, ...], lanes: int, frames: int | None = None, split: bool | None = None,
    **options: Any,
) -> Plan:  # fmt: skip
    """A plan that may need more memory than there is. options: further fields of Plan."""
    if frames is None:
        frames = max(1, GROUP_THREADS // lanes)
    if split is None:  # an interleaved buffer would leave room for one threadgroup per core only
        split = n_fft // 2 > 3200
    return Plan(n_fft, radices, lanes, frames, split, **options)


def fitted(n_fft: int, radices: tuple[int, ...], lanes: int, **options: Any) -> Plan:
    """With as many frames per threadgroup as its memory allows, at last without spare elements."""
    plan = unfitted(n_fft, radices, lanes, **options)
    while plan.threadgroup_bytes > THREADGROUP_BYTES:
        if plan.frames > 1:
            plan = replace(plan, frames=plan.frames // 2)
        else:
            assert plan.spread, plan
            plan = replace(plan, spread=False)
    return plan


def _spare(run: int, block: int, banks: int) -> tuple[int, int]:
    """(every so many elements, so many spare ones) for lanes that write runs of `run` elements, a block apart.

    Runs that lie side by side in the banks do not meet. Where the first would that meets another, as many elements are
    left out as a run has; where each meets the next, as many behind each block as move it beside the one before.
    """
    every, count, step = block, (run - block) % banks, gcd(block, banks)
    if run < step:
        every, count = block * banks // step, run
    needed = run < banks and run != step and 0 < count * SPARE_MOST <= every
    return (every, count) if needed else (1, 0)


def known_stages(n_fft: int) -> tuple[tuple[int, ...], int, bool]:
    """(radices of the forward transform, lanes, mirrored) of a size that supports_real() allows."""
    if not supports_real(n_fft):
        raise ValueError(f"no plan for n_fft={n_fft}: it must be even, {MIN_N_FFT} to {MAX_N_FFT}, half of it 7-smooth")
    found = _stages(n_fft)
    assert found is not None
    return found


@cache
def _stages(n_fft: int) -> tuple[tuple[int, ...], int, bool] | None:
    """(radices of the forward transform, lanes, mirrored) with the least idle lanes over the fewest stages."""
    half = n_fft // 2
    found = []
    for factors in _factorisations(half, RADICES):
        for lanes in _lane_counts(half):
            counts = [-(-(half // radix) // lanes) for radix in factors]
            values = max(radix * count for radix, count in zip(factors, counts, strict=True))
            if values > MAX_VALUES:
                continue
            # Work issued relative to work needed: idle lanes in partly filled stages.
            waste = sum(count * lanes * radix for radix, count in zip(factors, counts, strict=True)) / half
            # Mirrored where a lane has two butterflies of the last stage anyway. Not if some lanes idle in one of only
            # two stages (H200: 0.053 against 0.046 ms at n_fft 240).
            least = 2 * lanes if len(factors) <= 2 else lanes + 1
            last = next((r for r in sorted(factors) if r % 2 == 0 and least <= half // r <= 2 * lanes), 0)
            crossing = 0 if lanes <= 32 else 1  # frames that span simdgroups need threadgroup barriers
            # The smallest first, of whose butterflies there are the most: so few lanes idle while samples are loaded
            # (H200: 0.045 against 0.054 ms at n_fft 320, 0.054 against 0.071 at 2560). Mirrored the largest first
            # (0.044 against 0.050 at 960, 0.079 against 0.090 at 16384).
            order = sorted(factors, reverse=bool(last))
            if last:
                order.remove(last)
                order.append(last)
            score = len(factors), crossing, round(waste, 3), not last, max(factors), lanes
            found.append((score, (tuple(order), lanes, bool(last))))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _lane_counts(half: int) -> list[int]:
    return [lanes for lanes in (1, 2, 4, 8, 16, 32) if lanes <= half] + list(range(64, 513, 32))


def _factorisations(number: int, radices: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All ways to write `number` as a product of radices, the largest first."""
    if number == 1:
        return [()]
    found = []
    for position, radix in enumerate(radices):
        if number % radix == 0:
            found += [(radix, *rest) for rest in _factorisations(number // radix, radices[position:])]
    return [factors for factors in found if len(factors) <= STAGES_MAX]
