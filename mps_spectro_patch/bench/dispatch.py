"""The dispatch profile: what a call costs the program before the device has anything to do, and what it asks of it.

host: microseconds until the call returns, with nothing waited for, over small inputs. routing: of that, the decision
whether it takes the fast path. launches: kernels and memory operations per call where the profiler tells (CUDA);
elsewhere torch's operators, and for this package the one launch of a fast call.
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
from .cases import GRADIENTS, ROUND_TRIP, Case, front_end_case
from .contestants import OURS, TORCH, Contestant, inputs
from .timing import Effort, summary

COUNT = 16  # calls of which nobody waits: few enough that no queue is ever full


def cases(shrink: bool) -> list[Case]:
    samples = 4096 if shrink else 16_000
    ops = ("stft", "istft") if shrink else ("stft", "istft", GRADIENTS["stft"], GRADIENTS["istft"], ROUND_TRIP)
    found = [Case("dispatch", op, 1, samples, 1024, 256) for op in ops]
    return [*found, front_end_case("dispatch", 1, samples, front_ends.plain_log_mel())]


def measure(everybody: list[Contestant], accelerator: Accelerator, effort: Effort, shrink: bool) -> list[dict]:
    """All clocks first, then the profiler: where it was on once, later launches can take longer."""
    rows = []
    profiled = []
    for case in cases(shrink):
        window = torch.hann_window(case.n_fft, dtype=torch.float32, device=accelerator.place)
        given = inputs(case, window)
        decide = partial(_decision, case, given[0], window) if case.op in ("stft", "istft") else None
        routing_time = min(timeit.repeat(decide, number=200, repeat=5)) / 200 * 1e6 if decide else None
        row: dict[str, Any] = {"op": case.op, "case": case.name, "by": {}, "routing": routing_time}
        for one in everybody:
            function = one.make(case, window)
            if function is None:
                continue
            call = partial(function, *given)
            with one.scope():
                call()
                found = row["by"][one.name] = {"host": _host(call, accelerator, effort)}
            profiled.append((found, one, call, decide))
        rows.append(row)
    for found, one, call, decide in profiled:
        with one.scope():
            found["launches"] = _launches(one.name, call, decide, accelerator)
    return rows


def _host(call: Callable[[], Any], accelerator: Accelerator, effort: Effort) -> dict[str, float]:
    """Microseconds per call; what is queued is waited for outside of the clock."""
    seconds, count = [], COUNT if effort.rounds > 1 else 1
    for _ in range(max(2, effort.rounds * effort.repeats)):
        accelerator.wait()
        seconds.append(timeit.timeit(call, number=count) / count)
    accelerator.wait()
    return {name: value * 1e3 if name != "count" else value for name, value in summary(seconds).items()}


def _launches(name: str, call: Callable[[], Any], decide: Callable[[], Call | Reason] | None,
              accelerator: Accelerator) -> float | None:  # fmt: skip
    if accelerator.device == "cuda":
        return timing.launches(call)
    if name == OURS:  # of front ends nothing counts them where there is no profiler; docs/mel.md tells
        return 1 if decide and isinstance(decide(), Call) else None
    if name != TORCH:
        return None
    with _Counting() as counting:
        call()
    return counting.operators


class _Counting(TorchDispatchMode):
    operators = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators += not function.is_view
        return function(*args, **(kwargs or {}))


def _decision(case: Case, given: torch.Tensor, window: torch.Tensor) -> Call | Reason:
    options = (case.n_fft, case.hop_length, None, window, True)
    if case.op == "stft":
        arguments = (given, *options, "reflect", False, None, True, None)
    else:
        arguments = (given, *options, False, None, case.samples, False)
    return routing.decide(case.op, (f"is_{given.device.type}",), arguments)
