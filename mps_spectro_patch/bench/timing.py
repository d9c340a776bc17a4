"""How a call is timed: synchronised, queued, and on the device alone. Knows nothing of what it times.

synchronised: one call from Python, waited for. queued: calls one after the other, waited for at the end, per call. Both
go in turns with whoever they are compared with. device: from a CUDA graph of several calls, or where a call cannot be
captured (torch.istft waits for the device) the sum of its kernels' own times. Elsewhere there is no such clock.
"""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.utils.benchmark import Measurement, TaskSpec

from .accelerator import COPY, Accelerator

Call = Callable[[], Any]
QUEUE_MAX = 50  # calls: results that nobody waited for are memory in use


@dataclass(frozen=True)
class Effort:
    """How long to look. queue: seconds of work that are queued before they are waited for."""

    rounds: int = 4
    repeats: int = 8
    queue: float = 0.01
    replays: int = 12
    warm_up: int = 3


FULL, QUICK = Effort(), Effort(rounds=2, repeats=5, queue=0.004, replays=5)
TINY = Effort(rounds=1, repeats=1, queue=0.0, replays=1, warm_up=1)  # the simulator


@dataclass
class Timed:
    """One contestant's calls, in turns over its inputs, and the scope that they are made in."""

    calls: Sequence[Call]
    scope: Callable[[], AbstractContextManager]
    synchronised: list[float] = field(default_factory=list)  # seconds
    queued: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        following = itertools.cycle(self.calls)
        self.step = lambda: next(following)()


def in_turns(contestants: dict[str, Timed], accelerator: Accelerator, effort: Effort) -> None:
    """Fills `synchronised` and `queued` of each, round by round, so that a slow minute is everybody's."""
    for timed in contestants.values():
        with timed.scope():
            for _ in range(effort.warm_up):
                timed.step()
    for _ in range(effort.rounds):
        for timed in contestants.values():
            with timed.scope():
                timer = timeit.Timer(timed.step, timer=accelerator.clock)
                timed.step()  # what ran before may have left another's data in the caches
                timed.synchronised += timer.repeat(effort.repeats, number=1)
                count = max(1, min(QUEUE_MAX, round(effort.queue / max(1e-9, timed.synchronised[-1]))))
                timed.queued += [seconds / count for seconds in timer.repeat(2, number=count)]


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: the median, and the spread as the distance of the quartiles."""
    measured = Measurement(number_per_run=1, raw_times=list(seconds), task_spec=TaskSpec("call()", ""))
    with torch.device("cpu"):  # torch computes these by tensors on the default device
        spread, median = measured.iqr if len(seconds) > 1 else 0.0, measured.median
    return {"median": median * 1e3, "spread": spread * 1e3, "count": len(seconds)}


def captured(calls: Sequence[Call], effort: Effort, per_graph: int = 8) -> list[float]:
    """Seconds of device time per call, from replays of a CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    stream.synchronize()
    graph, count = torch.cuda.CUDAGraph(), max(per_graph, len(calls))
    with torch.cuda.graph(graph, stream=stream):
        for call in itertools.islice(itertools.cycle(calls), count):
            call()
    return [between_events(graph.replay) / count for _ in range(effort.replays + 2)][2:]


def between_events(run: Callable[[], Any]) -> float:
    """Seconds of device time, from before the first to behind the last of what `run` asks for."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def profiled(calls: Sequence[Call]) -> float:
    """Seconds of device time per call, as the sum of the kernels' own times."""
    return sum(event.self_device_time_total for event in _kernels(calls * 3)) / 1e6 / (3 * len(calls))


def launches(call: Call) -> float:
    """Kernels and memory operations of a call on a CUDA device."""
    return sum(event.count for event in _kernels([call] * 3)) / 3


def _kernels(calls: Sequence[Call]) -> list:
    calls[0]()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for call in calls:
            call()
        torch.cuda.synchronize()
    return [event for event in profile.key_averages() if event.device_type == DeviceType.CUDA]


def copy_rate(accelerator: Accelerator, effort: Effort) -> float:
    """GB/s of a large copy on the device, bytes read plus bytes written."""
    source = torch.rand(COPY[accelerator.device] // 4, dtype=torch.float32, device=accelerator.place)
    copy = partial(torch.empty_like(source).copy_, source)
    copy()
    if accelerator.device == "cuda":  # not in a graph: there an H200 copies at 2.8 TB/s, though kernels reach 3.1
        seconds = [between_events(lambda: [copy() for _ in range(4)]) / 4 for _ in range(effort.replays)]
    else:
        seconds = [t / 4 for t in timeit.Timer(copy, timer=accelerator.clock).repeat(max(3, effort.replays), number=4)]
    return 2 * source.nbytes / summary(seconds)["median"] / 1e6
