"""What Apple GPUs may need, from bytes, arithmetic and a fixed cost per call. A prediction: none of them was measured.

time = fixed + the larger of bytes / (0.8 * the chip's memory bandwidth) and operations / (0.38 * its float32 peak).
The fixed cost and the 0.8 are fitted to the times that mps-spectro and mlx-spectro publish for an M4 Max (both follow a
constant of 0.12 to 0.18 ms plus bytes at 430 to 440 of its 546 GB/s); the 0.38 is what FFT code, half of it additions,
can issue. `bench` prints what it measures on an Apple GPU beside this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import markdown
from .cases import Case, cases

FIXED = 0.13  # ms of one synchronised call
BANDWIDTH, ARITHMETIC = 0.8, 0.38  # of the peaks
FLOPS = 2.8  # operations per frame, in n_fft * log2(n_fft): 2.5 of the transform, the rest around it


@dataclass(frozen=True)
class Chip:
    """Gigabytes per second, and float32 operations of all cores: 128 lanes, two operations in each cycle."""

    name: str
    bandwidth: float
    cores: int
    gigahertz: float

    @property
    def flops(self) -> float:
        return self.cores * 128 * 2 * self.gigahertz * 1e9


# The largest variant of each.
CHIPS = [
    Chip("Apple M1", 68, 8, 1.28), Chip("Apple M1 Pro", 200, 16, 1.30), Chip("Apple M1 Max", 400, 32, 1.30),
    Chip("Apple M2", 100, 10, 1.40), Chip("Apple M2 Pro", 200, 19, 1.40), Chip("Apple M2 Max", 400, 38, 1.40),
    Chip("Apple M3", 100, 10, 1.38), Chip("Apple M3 Pro", 150, 18, 1.38), Chip("Apple M3 Max", 400, 40, 1.38),
    Chip("Apple M4", 120, 10, 1.47), Chip("Apple M4 Pro", 273, 20, 1.58), Chip("Apple M4 Max", 546, 40, 1.58),
]  # fmt: skip
SHOWN = ("Apple M1", "Apple M1 Max", "Apple M2", "Apple M3", "Apple M4", "Apple M4 Pro", "Apple M4 Max")


def chip(name: str) -> Chip | None:
    return next((one for one in CHIPS if one.name == name), None)


def operations(case: Case) -> float:
    """Floating-point operations of a call."""
    transforms = case.rows * case.frames * FLOPS * case.n_fft * math.log2(case.n_fft)
    return transforms * case.passes * (1.1 if case.front_end else 1.0)  # the bands are a tenth of the FFT


def predicted(case: Case, where: Chip) -> float:
    """Milliseconds of one synchronised call."""
    memory = case.bytes_moved / (BANDWIDTH * where.bandwidth * 1e9)
    arithmetic = operations(case) / (ARITHMETIC * where.flops)
    return FIXED + 1e3 * max(memory, arithmetic)


def table() -> str:
    """Markdown, for the chips of SHOWN."""
    chips = [one for one in CHIPS if one.name in SHOWN]
    lines = [
        "# A prediction, not a measurement: milliseconds of one synchronised call on Apple GPUs", "",
        "Made by `python -m mps_spectro_patch bench --predict`; no Apple GPU was at hand. A call is predicted to take",
        f"{FIXED} ms and the larger of two times: its bytes over {BANDWIDTH:.0%} of the chip's memory bandwidth, and",
        f"its arithmetic over {ARITHMETIC:.0%} of the chip's float32 peak. `python -m mps_spectro_patch bench` prints",
        "what it measures on an Apple GPU beside this. Published are the seed package's own times on an M4 Max:",
        "torch's on MPS -> mps-spectro's.", "",
    ]  # fmt: skip
    heads = ["case", "op", "MB", *(one.name.removeprefix("Apple ") for one in chips), "published, M4 Max"]
    rows = []
    for case in cases():
        times = [f"{predicted(case, one):.2f}" for one in chips]
        rows.append([case.name, case.op, f"{case.bytes_moved / 1e6:.1f}", *times, published(case.published)])
    return "\n".join([*lines, *markdown.table(heads, rows)]) + "\n"


def published(times: tuple[float, float] | None) -> str:
    return "{:.2f} -> {:.2f}".format(*times) if times else ""
