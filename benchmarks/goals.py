"""The goals for one NVIDIA H100, and which of them a kept result reaches.

    python benchmarks/goals.py [result.json]      # exit status 1 where a goal is missed

A goal is a time: on the device, or of one synchronised call. The factor over torch in the same run stands beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

from mps_spectro_patch.bench import compare, tables
from mps_spectro_patch.bench.cases import GRADIENTS, ROUND_TRIP
from mps_spectro_patch.bench.contestants import OURS

KEPT = Path(__file__).parent / "results" / "nvidia-h100-80gb-hbm3.json"


class Goal(NamedTuple):
    """`kind` of `op` within `milliseconds`, `factor` times as fast as torch; the case's name begins with `case`."""

    op: str
    case: str
    kind: str
    milliseconds: float
    factor: float


LARGE, SMALL = "B4 T1320000 n1024 h256", "B4 T160000 n1024 h256"
GOALS = [
    Goal("stft", LARGE, "device", 0.048, 3.1),
    Goal("stft", "B16 T1320000 n1024 h256", "device", 0.175, 3.3),
    Goal("stft", "B2 T2650000 n2048 h512", "device", 0.050, 3),
    Goal("stft", "B2 T2650000 n2048 h441", "device", 0.056, 3),
    Goal("stft", "B2 T2650000 n4096 h1024", "device", 0.055, 3),
    Goal("stft", "B2 T2650000 n6144 h1024", "device", 0.085, 3),
    Goal("stft", "B2 T2650000 n7680 h1024", "device", 0.10, 3),
    Goal("stft", "B2 T2650000 n8192 h1024", "device", 0.10, 3),
    Goal("stft", "B64 T480000 n400 h160", "device", 0.21, 4),
    Goal("istft", LARGE, "device", 0.055, 7.5),
    Goal("istft", LARGE, "synchronised", 0.08, 7.5),
    Goal("istft", "B2 T2650000 n2048 h512", "device", 0.058, 8),
    Goal("istft", "B2 T2650000 n2048 h441", "device", 0.065, 8),
    Goal("istft", "B2 T2650000 n4096 h1024", "device", 0.062, 8),
    Goal("istft", "B2 T2650000 n6144 h1024", "device", 0.10, 6),
    Goal("istft", "B2 T2650000 n7680 h1024", "device", 0.12, 6),
    Goal("istft", "B2 T2650000 n8192 h1024", "device", 0.12, 6),
    Goal("istft", "B64 T480000 n400 h160", "device", 0.24, 7),
    Goal(GRADIENTS["stft"], LARGE, "device", 0.12, 7),
    Goal(GRADIENTS["istft"], LARGE, "device", 0.12, 7),
    Goal(ROUND_TRIP, LARGE, "device", 0.24, 7),
    Goal("log-mel", f"log-mel {LARGE}", "device", 0.036, 10),
    Goal("log-mel", "mamba_amt B8", "device", 0.040, 7),
    Goal("stft", SMALL, "synchronised", 0.040, 1.6),
    Goal("istft", SMALL, "synchronised", 0.045, 7),
    Goal("log-mel", f"log-mel {SMALL}", "synchronised", 0.045, 8),
    Goal(GRADIENTS["stft"], SMALL, "synchronised", 0.15, 5),
    Goal(GRADIENTS["istft"], SMALL, "synchronised", 0.15, 5),
    Goal(ROUND_TRIP, SMALL, "synchronised", 0.25, 5),
    Goal("log-mel", "Whisper 30 s", "synchronised", 0.05, 11),
    Goal("log-mel", "RMVPE", "synchronised", 0.07, 10),
]


def judged(data: dict[str, Any]) -> tuple[str, int]:
    """A Markdown table, and how many are missed. A goal for several cases holds for each of them."""
    lines = ["| op | case | time | goal | reached | factor: goal | reached | |", "|---|---|---|---|---|---|---|---|"]
    missed = 0
    for goal in GOALS:
        rows = [row for row in data["rows"] if row["op"] == goal.op and row["case"].startswith(goal.case)
                and row["by"].get(OURS, {}).get(goal.kind)]  # fmt: skip
        if not rows:
            missed += 1
            lines.append(f"| {goal.op} | {goal.case} | {goal.kind} | {goal.milliseconds} | not measured | | | missed |")
        for row in rows:
            reached, factor = row["by"][OURS][goal.kind]["median"], tables.factor(row, goal.kind)
            fits = reached <= goal.milliseconds
            missed += not fits
            times = f"{goal.kind} | {goal.milliseconds:.3f} | {reached:.3f}"
            factors = f"{goal.factor:g}x | {f'{factor:.1f}x' if factor else ''}"
            lines.append(f"| {goal.op} | {row['case']} | {times} | {factors} | {'' if fits else 'missed'} |")
    return "\n".join(lines), missed


def main() -> int:
    text, missed = judged(compare.load(Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT))
    print(f"{text}\n\n{missed} missed")
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
