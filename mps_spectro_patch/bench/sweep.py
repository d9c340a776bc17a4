"""From one frame to 100 MB: where this package is below torch. The smallest calls are where that could be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from . import front_ends, timing
from .accelerator import Accelerator
from .cases import Case
from .contestants import OURS, TORCH, Contestant, inputs
from .measuring import strict
from .timing import Effort, Timed, summary

SIZES = (400, 1024, 4096)
OPS = ("stft", "istft", "log-mel")
KINDS = ("synchronised", "queued")
LARGEST = 100_000_000  # bytes of input and output
STEP = 4  # from one number of frames to the next
BELOW = 0.95  # of torch's speed: what is nearer than that is noise


def cases(shrink: bool, ops: tuple[str, ...] = OPS, largest: int = LARGEST, step: int = STEP) -> Iterator[Case]:
    """One row each. Without padding, so that there can be a single frame; front ends pad, as their programs do."""
    for op in ops:
        for n_fft in SIZES[:1] if shrink else SIZES:
            hop = n_fft // 4
            front_end = front_ends.plain_log_mel(n_fft) if op == "log-mel" else None
            for power in range(2) if shrink else itertools.count():
                samples = n_fft + hop * (step**power - 1)
                case = Case("sweep", op, 1, samples, n_fft, hop, center=front_end is not None, front_end=front_end)
                if case.bytes_moved > largest:
                    break
                yield case


def timed(case: Case, everybody: list[Contestant], accelerator: Accelerator, effort: Effort) -> dict[str, Timed]:
    """The times of torch and of this package over one input."""
    window = torch.hamming_window(
        case.n_fft, dtype=torch.float32, device=accelerator.place
    )  # zero nowhere: one frame can be inverted
    given = inputs(case, window)
    found = {}
    with strict():
        for one in everybody:
            if one.name in (TORCH, OURS):
                found[one.name] = Timed([partial(one.make(case, window), *given)], one.scope)
        timing.in_turns(found, accelerator, effort)
    return found


def measure(case: Case, everybody: list[Contestant], accelerator: Accelerator, effort: Effort) -> dict[str, Any]:
    """One row: both times of torch and of this package, and whether it is below torch by either."""
    times = timed(case, everybody, accelerator, effort)
    by = {name: {kind: summary(getattr(one, kind)) for kind in KINDS} for name, one in times.items()}
    factors = {kind: by[TORCH][kind]["median"] / by[OURS][kind]["median"] for kind in KINDS}
    return {
        "op": case.op, "n_fft": case.n_fft, "frames": case.frames, "bytes": case.bytes_moved,
        "work": case.frames * case.n_fft, "by": by, "factors": factors,
        "below": [kind for kind, factor in factors.items() if factor < BELOW],
    }  # fmt: skip


def verdict(rows: list[dict[str, Any]]) -> list[str]:
    """In words: where it is below torch, or that it is nowhere."""
    lines = []
    for op in dict.fromkeys(row["op"] for row in rows):
        of_op = [row for row in rows if row["op"] == op]
        if not any(row["below"] for row in of_op):
            lines.append(f"{op}: nowhere below torch, over {len(of_op)} sizes")
        for row in of_op:
            if row["below"]:
                factors = ", ".join(f"{row['factors'][kind]:.2f}x {kind}" for kind in row["below"])
                lines.append(f"{op}: below torch at n_fft {row['n_fft']}, {row['frames']} frames: {factors}")
    return lines
