"""What Apple GPUs may need, from bytes, arithmetic and a fixed cost per call. A prediction: none of them was measured.

time = fixed + the larger of bytes / (0.8 * the chip's memory bandwidth) and ALU cycles / the rate at which they are
issued. The fixed cost and the 0.8 are fitted to the times that mps-spectro and mlx-spectro publish for an M4 Max (both
follow a constant of 0.12 to 0.18 ms plus bytes at 430 to 440 of its 546 GB/s). The cycles are those of the kernels'
machine code by Mesa's compiler (benchmarks/apple_code writes apple_cycles.json). `bench` prints what it measures on an
Apple GPU beside this.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..kernels import fft
from . import markdown
from .cases import GRADIENTS, ROUND_TRIP, Case, cases

FIXED = 0.13  # ms of one synchronised call
BANDWIDTH = 0.8  # of the peak
SIMDGROUPS = 4  # of a core that issue at once


@dataclass(frozen=True)
class Chip:
    """bandwidth: gigabytes per second."""

    name: str
    bandwidth: float
    cores: int
    gigahertz: float

    @property
    def issued(self) -> float:
        """Cycles of simdgroups per second, all cores together."""
        return self.cores * SIMDGROUPS * self.gigahertz * 1e9


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


@cache
def cycles() -> dict[str, dict[str, float]]:
    """By kernel and n_fft: ALU cycles of a simdgroup per frame."""
    path = Path(__file__).with_name("apple_cycles.json")
    return json.loads(path.read_text(encoding="utf-8"))["cycles"]


def cycles_per_frame(kernel: str, n_fft: int) -> float:
    """Of a size that is not listed: as much per point and stage as of the nearest that is."""
    known = {int(size): count for size, count in cycles()[kernel].items()}
    nearest = min(known, key=lambda size: abs(math.log(size / n_fft)))
    return known[nearest] * n_fft * math.log2(n_fft) / (nearest * math.log2(nearest))


def kernels(case: Case) -> list[str]:
    """What a call launches, by the names of apple_cycles.json."""
    if case.front_end:
        feature = "log-mel" if fft.supports_real(case.n_fft) else "log-mel of any size"
        return [feature] + ["gradient of log-mel"] * (case.op in GRADIENTS.values())
    in_registers = " in registers" if fft.inverse_plan(case.n_fft, case.hop_length).shift else ""
    inverse, adjoint = f"istft{in_registers}", f"adjoint of stft{in_registers}"
    launched = {
        "stft": ["stft"], "istft": [inverse], GRADIENTS["stft"]: ["stft", adjoint],
        GRADIENTS["istft"]: [inverse, "adjoint of istft"], ROUND_TRIP: ["stft", inverse, "adjoint of istft", adjoint],
    }  # fmt: skip
    return launched[case.op]


def predicted_parts(case: Case, where: Chip) -> tuple[float, float]:
    """Milliseconds on the device that memory takes, and arithmetic."""
    memory = case.bytes_moved / (BANDWIDTH * where.bandwidth * 1e9)
    per_frame = sum(cycles_per_frame(kernel, case.n_fft) for kernel in kernels(case))
    return 1e3 * memory, 1e3 * case.rows * case.frames * per_frame / where.issued


def predicted(case: Case, where: Chip) -> float:
    """Milliseconds of one synchronised call."""
    return FIXED + max(predicted_parts(case, where))


def bound(case: Case, chips: list[Chip]) -> str:
    """Which of the two takes longer, and where it is the other one."""
    by_arithmetic = [
        one.name.removeprefix("Apple ") for one in chips if max(parts := predicted_parts(case, one)) == parts[1]
    ]
    if len(by_arithmetic) in (0, len(chips)):
        return "arithmetic" if by_arithmetic else "memory"
    return f"memory; arithmetic on {', '.join(by_arithmetic)}"


def table() -> str:
    """Markdown, for the chips of SHOWN."""
    chips = [one for one in CHIPS if one.name in SHOWN]
    lines = [
        "# A prediction, not a measurement: milliseconds of one synchronised call on Apple GPUs", "",
        "Made by `python -m mps_spectro_patch bench --predict`; no Apple GPU was at hand. A call is predicted to take",
        f"{FIXED} ms and the larger of two times: its bytes over {BANDWIDTH:.0%} of the chip's memory bandwidth, and",
        "the ALU cycles of its kernels, as Mesa's compiler for Apple GPUs counts them, over those that all cores",
        "issue. The last column says which of the two that is. `python -m mps_spectro_patch bench` prints what it",
        "measures on an Apple GPU beside this. Published are the seed package's own times on an M4 Max:",
        "torch's on MPS -> mps-spectro's.", "",
    ]  # fmt: skip
    heads = ["case", "op", "MB", *(one.name.removeprefix("Apple ") for one in chips), "published, M4 Max", "bound by"]
    rows = []
    for case in cases():
        times = [f"{predicted(case, one):.2f}" for one in chips]
        rows.append(
            [case.name, case.op, f"{case.bytes_moved / 1e6:.1f}", *times, published(case.published), bound(case, chips)]
        )
    return "\n".join([*lines, *markdown.table(heads, rows)]) + "\n"


def published(times: tuple[float, float] | None) -> str:
    return "{:.2f} -> {:.2f}".format(*times) if times else ""
