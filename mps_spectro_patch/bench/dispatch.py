"""The dispatch profile: what a call costs the program before the device has anything to do, and what it asks of it.

host: microseconds until the call returns, with nothing waited for, over small inputs. routing: of that, the decision
which way it goes. launches: kernels and memory operations per call where the profiler tells (CUDA); elsewhere torch's
operators, and for this package the one launch of a fast call.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .. import routing
from ..reasons import Call, Reason
from . import front_ends, timing
from .accelerator import Accelerator
from .cases import GRADIENTS, ROUND_TRIP, Case
from .contestants import OURS, TORCH, Contestant, inputs
from .timing import Effort, summary

COUNT = 16  # calls of which nobody waits: few enough that no queue is ever full


def cases(shrink: bool) -> list[Case]:
    samples, rows = (4096, 1) if shrink else (16_000, 1)
    ops = ("stft", "istft") if shrink else ("stft", "istft", GRADIENTS["stft"], GRADIENTS["istft"], ROUND_TRIP)
    found = [Case("dispatch", op, rows, samples, 1024, 256) for op in ops]
    return [*found, Case("dispatch", "log-mel", rows, samples, 1024, 256, front_end=front_ends.plain_log_mel())]


def measure(everybody: list[Contestant], accelerator: Accelerator, effort: Effort,
            shrink: bool) -> list[dict[str, Any]]:  # fmt: skip
    """All clocks first, then the profiler: where it was on once, later launches can take longer."""
    rows: list[dict[str, Any]] = []
    profiles: list[Callable[[], None]] = []
    for case in cases(shrink):
        window = torch.hann_window(case.n_fft, device=accelerator.place)
        given = inputs(case, accelerator.place, 0, window)
        row = {"op": case.op, "case": case.name, "by": {}, "routing": _routing(case, given, window, accelerator)}
        for one in everybody:
            function = one.make(case, accelerator.place, window)
            if function is None:
                continue
            call = partial(function, *given)
            with one.scope():
                call()
                found = row["by"][one.name] = {"host": _host(call, accelerator, effort)}
            profiles.append(partial(_add_launches, found, one, case, call, given, window, accelerator))
        rows.append(row)
    for profile in profiles:
        profile()
    return rows


def _add_launches(found: dict[str, Any], one: Contestant, case: Case, call: Callable[[], Any], given: tuple,
                  window: torch.Tensor, accelerator: Accelerator) -> None:  # fmt: skip
    with one.scope():
        found["launches"] = _asked(one.name, case, call, given, window, accelerator)


def _host(call: Callable[[], None], accelerator: Accelerator, effort: Effort) -> dict[str, float]:
    """Microseconds per call; what is queued is waited for outside of the clock."""
    seconds, count = [], COUNT if effort.rounds > 1 else 1
    for _ in range(max(2, effort.rounds * effort.repeats)):
        accelerator.wait()
        seconds.append(timeit.timeit(call, number=count) / count)
    accelerator.wait()
    return {name: value * 1e3 if name != "count" else value for name, value in summary(seconds).items()}


def _asked(name: str, case: Case, call: Callable[[], None], given: tuple, window: torch.Tensor,
           accelerator: Accelerator) -> float | None:  # fmt: skip
    if accelerator.device == "cuda":
        return timing.launches([call])
    if name == OURS:
        if case.op not in ("stft", "istft"):
            return None  # docs/mel.md tells; nothing counts them where there is no profiler
        return 1 if isinstance(_decision(case, given, window, accelerator), Call) else None
    if name != TORCH:
        return None
    with _Counting() as counting:
        call()
    return counting.operators


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators += not function.is_view
        return function(*args, **(kwargs or {}))


def _routing(case: Case, given: tuple, window: torch.Tensor, accelerator: Accelerator) -> float | None:
    """Microseconds of the decision, for the two functions that are routed."""
    if case.op not in ("stft", "istft"):
        return None
    decide = partial(_decision, case, given, window, accelerator)
    return min(timeit.repeat(decide, number=200, repeat=5)) / 200 * 1e6


def _decision(case: Case, given: tuple, window: torch.Tensor, accelerator: Accelerator) -> Call | Reason:
    options = (case.n_fft, case.hop_length, None, window, True)
    if case.op == "stft":
        arguments = (given[0], *options, "reflect", False, None, True, None)
    else:
        arguments = (given[0], *options, False, None, case.samples, False)
    return routing.decide(case.op, (f"is_{accelerator.place}",), arguments)
