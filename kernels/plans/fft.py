"""Which radices, lanes and frames per threadgroup one n_fft gets: the FFT plan that is compiled into a kernel.

A plan depends on n_fft and the direction only. Hop, lengths, padding, batch and scale are run-time arguments, so a new
length never compiles anything. Nothing here touches torch or a device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from math import prod

from .frozen import hashed_once

MIN_N_FFT = 16
MAX_N_FFT = 16_384
MAX_BLUESTEIN_POINTS = 4096  # two transforms of twice as many points, which threadgroup memory just holds
MAX_VALUES = 16  # complex registers per lane: more would spill on Apple GPUs
THREADGROUP_BYTES = 32_768
GROUP_THREADS = 128  # 8 simdgroups per threadgroup lost 25 to 50 % on an H100, 2 to 4 were best
RADICES = (16, 15, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2)
STAGES_MAX = 6
_NO_RADICES = (1,) * STAGES_MAX  # the stages that a plan has not
UNPADDED = 30  # a pad_shift that adds nothing
REACH_MAX = 8  # hops under one frame that are overlapped in registers: with more, more waits than memory holds


@lru_cache(maxsize=4096)
def supports_real(n_fft: int) -> bool:
    """Whether the real family has this size: even, 16 to 16384, half of it a product of 2, 3, 5 and 7.

    Above 8192 that is where the lanes of a threadgroup hold all values in the stages of some order of radices.
    """
    return n_fft % 2 == 0 and MIN_N_FFT <= n_fft <= MAX_N_FFT and _transform(n_fft) is not None


def supports(n_fft: int, complex_valued: bool = False) -> bool:
    """Whether any kernel does this size, for real signals and windows or for complex ones."""
    if n_fft < 1:
        return False
    if not complex_valued and supports_real(n_fft):
        return True
    points = n_fft if complex_valued or n_fft % 2 else n_fft // 2
    return points <= MAX_BLUESTEIN_POINTS or supports_real(2 * points)


def supported_sizes(largest: int = MAX_N_FFT) -> list[int]:
    """The sizes of the real family."""
    return [n for n in range(MIN_N_FFT, largest + 1, 2) if supports_real(n)]


def describe(op: str, n_fft: int, complex_valued: bool = False, hop_length: int = 1) -> str:
    """The plan of a call in words."""
    if not complex_valued and supports_real(n_fft):
        return (stft_plan(n_fft) if op == "stft" else inverse_plan(n_fft, hop_length)).describe()
    if not supports(n_fft, complex_valued):
        complex_valued = not complex_valued
    return f"{op} n_fft={n_fft} {transform(n_fft, complex_valued, op == 'istft').describe()}"


@hashed_once
@dataclass(frozen=True)
class Plan:
    """How one threadgroup transforms frames of `n_fft` real samples as `half` complex ones.

    radices: stages in the order they run; lanes: threads per frame; frames: frames in flight per threadgroup;
    mirrored: bins k and half - k end in one lane, so the real post-pass needs no exchange (forward only);
    split: exchange real parts, then imaginary parts, through half the memory; pad_shift: one spare element every
    2**pad_shift; overlap: where the inverse keeps unfinished samples ("gather", "ring", "device", "registers"; "" when
    forward); shift: by how many registers a hop moves them ("registers").
    """

    n_fft: int
    radices: tuple[int, ...]
    lanes: int
    frames: int
    mirrored: bool
    split: bool
    pad_shift: int
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
        """Bins k a lane may start a pair from: the lower half, or all of them where a lane owns both ends."""
        return self.half if self.mirrored else self.pairs

    @cached_property
    def values(self) -> int:
        """Complex registers a lane holds at most."""
        per_stage = [radix * -(-(self.half // radix) // self.lanes) for radix in self.radices]
        return max(*per_stage, 2 * -(-self.pairs // self.lanes))

    @property
    def exchange_size(self) -> int:
        """Elements of exchange memory per frame (float2, or float when split), padding included."""
        if self.pad_shift == UNPADDED:
            return self.half
        return self.half + ((self.half - 1) >> self.pad_shift) + 1

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
        values = {
            "N_FFT": self.n_fft,
            "LANES": self.lanes,
            "FRAMES": self.frames,
            "STAGES": len(self.radices),
            **{f"RADIX_{stage}": radix for stage, radix in enumerate((*self.radices, *_NO_RADICES)[:STAGES_MAX])},
            "LAST_RADIX": self.radices[-1],
            "VALUES": self.values,
            "MIRRORED": int(self.mirrored),
            "OVERLAP": overlap,
            "SHIFT": self.shift,
            "SPLIT": int(self.split),
            "PAD_SHIFT": self.pad_shift,
            "EXCHANGE_SIZE": self.exchange_size,
        }
        return "".join(f"#define MSP_{name} {value}\n" for name, value in values.items())


@dataclass(frozen=True)
class Transform:
    """How the general family transforms one frame: `points` complex points, by `plan`.

    packed: two samples of a real frame are one point; bins: those of the transform that matter, of real frames that are
    not packed one side; bluestein: as a convolution by transforms of `plan.half` points, which are enough for as many
    points and bins as are one more together; points_max, bins_max: the most of them that the same kernel is for.
    folded: a real frame of odd n_fft is laid on itself around its middle, sums and differences being one point. Then k
    and -k are both transformed for each of the `bins`, and give its magnitude: that pays where few are asked for.
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
    """The general family's transform for a size that `supports` allows. used: of how many of a real frame's bins,
    from 0 on, the magnitude is all that is asked for."""
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
    radices, lanes, _ = _known_transform(2 * size)
    frames = max(1, GROUP_THREADS // lanes)
    split = size > 3200
    plan = _fit(Plan(2 * size, radices, lanes, frames, False, split, pad_shift=5 if split else 4))
    return Transform(plan, points, bins, packed, bluestein, points_max, bins_max, folded)


@cache
def _convolution(least: int, inverse: bool) -> int:
    """Points of the transforms that make a convolution of `least` points: few sizes, for many share a kernel.

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


@cache
def stft_plan(n_fft: int) -> Plan:
    """The forward plan. Raises ValueError for a size that `supports_real` refuses."""
    radices, lanes, mirrored = _known_transform(n_fft)
    half = n_fft // 2
    frames = max(1, GROUP_THREADS // lanes)
    split = half > 3200  # an interleaved buffer would leave room for one threadgroup per core only
    plan = Plan(n_fft, radices, lanes, frames, mirrored, split, pad_shift=5 if split else 4)
    return _fit(plan)


@cache
def istft_plan(n_fft: int) -> Plan:
    """The inverse plan: the forward stages in reverse order, and a place for the overlap."""
    # Not mirrored: its registers cost more than the exchange it saves (H100: 0.080 against 0.071 ms at n_fft 1024,
    # 0.118 against 0.109 at 4096).
    radices, lanes, _ = _known_transform(n_fft)
    if n_fft <= 2048:
        frames = max(1, GROUP_THREADS // lanes)
        return _fit(Plan(n_fft, radices[::-1], lanes, frames, False, False, 4, "gather"))
    for overlap, split in (("ring", False), ("ring", True), ("device", False)):
        plan = Plan(n_fft, radices[::-1], lanes, 1, False, split, 5 if split else 4, overlap)
        if plan.threadgroup_bytes <= THREADGROUP_BYTES:
            return plan
    return _fit(Plan(n_fft, radices[::-1], lanes, 1, False, True, 5, "device"))


def inverse_plan(n_fft: int, hop_length: int) -> Plan:
    """The plan of istft, and of the adjoint of stft."""
    return registers_plan(n_fft, hop_length) or istft_plan(n_fft)


@cache
def registers_plan(n_fft: int, hop_length: int) -> Plan | None:
    """The inverse plan that overlaps frames in registers, for hops that fit one of its stages; else None.

    H100, milliseconds in registers and as istft_plan has it: 0.051 and 0.067 at n_fft 1024, 0.058 and 0.072 at 2048
    (hop a quarter of it). Of an earlier, slower text: 0.163 and 0.289 at 6144, 0.235 and 0.400 at 7680, 0.228 and 0.291
    at 8192 (hop 1024), 0.434 and 0.707 at 400 (hop 160).
    """
    radices, lanes, _ = _known_transform(n_fft)
    half = n_fft // 2
    if hop_length % 2 or not n_fft // REACH_MAX <= hop_length <= n_fft:
        return None
    fitting = [radix for radix in set(radices) if (hop_length // 2) % (half // radix) == 0]
    if not fitting:
        return None
    # The stage with the least idle lanes comes last.
    last = min(fitting, key=lambda radix: (-(-(half // radix) // lanes) * lanes * radix, -radix))
    rest = sorted(radices)
    rest.remove(last)
    split = half > 3200
    frames = max(1, GROUP_THREADS // lanes)
    shift = hop_length // 2 // (half // last)
    return _fit(Plan(n_fft, (*rest, last), lanes, frames, False, split, 5 if split else 4, "registers", shift))


def _fit(plan: Plan) -> Plan:
    """The same plan with as many frames per threadgroup as its memory allows, at last without spare elements."""
    while plan.threadgroup_bytes > THREADGROUP_BYTES:
        if plan.frames > 1:
            plan = replace(plan, frames=plan.frames // 2)
        else:
            assert plan.pad_shift < UNPADDED, plan
            plan = replace(plan, pad_shift=UNPADDED)
    return plan


def _known_transform(n_fft: int) -> tuple[tuple[int, ...], int, bool]:
    if not supports_real(n_fft):
        raise ValueError(f"no plan for n_fft={n_fft}: it must be even, {MIN_N_FFT} to {MAX_N_FFT}, half of it 7-smooth")
    found = _transform(n_fft)
    assert found is not None
    return found


@cache
def _transform(n_fft: int) -> tuple[tuple[int, ...], int, bool] | None:
    """(radices of the forward transform, lanes, mirrored) with the least idle lanes over the fewest stages."""
    half = n_fft // 2
    best: tuple[tuple[float, ...], tuple[int, ...], int, bool] | None = None
    for factors in _factorisations(half, RADICES):
        for lanes in _lane_counts(half):
            counts = [-(-(half // radix) // lanes) for radix in factors]
            values = max(radix * count for radix, count in zip(factors, counts, strict=True))
            if values > MAX_VALUES:
                continue
            # Work issued relative to work needed: idle lanes in partly filled stages.
            waste = sum(count * lanes * radix for radix, count in zip(factors, counts, strict=True)) / half
            last = next((r for r in sorted(factors) if r % 2 == 0 and r <= 8 and half // r == 2 * lanes), 0)
            crossing = 0 if lanes <= 32 else 1  # frames that span simdgroups need threadgroup barriers
            order = tuple(sorted((f for f in factors), reverse=True))
            if last:
                rest = list(order)
                rest.remove(last)
                order = (*rest, last)
            score = (len(factors), crossing, round(waste, 3), not last, max(factors), lanes)
            if best is None or score < best[0]:
                best = (score, order, lanes, bool(last))
    if best is None:
        return None
    assert prod(best[1]) == half
    return best[1], best[2], best[3]


def _lane_counts(half: int) -> list[int]:
    powers = [1, 2, 4, 8, 16, 32]
    return [lanes for lanes in powers if lanes <= half] + list(range(64, 513, 32))


def _factorisations(number: int, radices: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All ways to write `number` as a product of radices, the largest first."""
    if number == 1:
        return [()]
    found = []
    for position, radix in enumerate(radices):
        if number % radix == 0:
            found += [(radix, *rest) for rest in _factorisations(number // radix, radices[position:])]
    return [factors for factors in found if len(factors) <= STAGES_MAX]
