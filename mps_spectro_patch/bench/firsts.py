"""What the first call of a size costs, and the first of every new length: there programs wait that are started anew.

The first call compiles the kernel (or takes it from the system's cache) and is compared with torch's own; a new length
costs torch a new FFT plan or, on Apple GPUs, a new graph.
"""

from __future__ import annotations

import timeit
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from . import front_ends
from .accelerator import Accelerator
from .cases import Case, front_end_case
from .contestants import OURS, TORCH, Contestant, inputs
from .measuring import strict
from .timing import summary

SIZES = (1024, 2048, 6144, 400, 1085)  # the last as a keyshift makes it
LENGTHS, AGAIN = 5, 5


def cases(shrink: bool) -> list[Case]:
    sizes, samples = (SIZES[:1], 4 * SIZES[0]) if shrink else (SIZES, 160_000)
    found = [Case("first", op, 2, samples, n, n // 4) for n in sizes for op in ("stft", "istft")]
    return [*found, front_end_case("first", 2, samples, front_ends.plain_log_mel())]


def measure(case: Case, everybody: list[Contestant], accelerator: Accelerator) -> dict[str, Any]:
    """One row. Only right where nothing of this size ran in this process before."""
    window = torch.hann_window(case.n_fft, dtype=torch.float32, device=accelerator.place)
    shorter = [replace(case, samples=case.samples - cut * case.hop_length) for cut in range(1 + LENGTHS)]
    given = [inputs(one, window)[0] for one in shorter]
    row: dict[str, Any] = {"op": case.op, "case": case.name, "by": {}}
    for one in everybody:
        if one.name not in (TORCH, OURS):
            continue
        with strict(), one.scope():
            if case.front_end:  # one module for all lengths, as programs have it
                functions = [one.make(case, window)] * len(shorter)
            else:
                functions = [one.make(which, window) for which in shorter]
            calls = [partial(function, x) for function, x in zip(functions, given, strict=True)]
            timers = [timeit.Timer(call, timer=accelerator.clock) for call in calls]
            first, *lengths = [timer.timeit(number=1) for timer in timers]
            again = timers[0].repeat(AGAIN, number=1)
        row["by"][one.name] = {"first": first * 1e3, "new_length": summary(lengths), "again": summary(again)}
    return row
