"""The clock reads what it should: who runs when, what is divided by what, and the statistics."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from mps_spectro_patch.bench import timing
from mps_spectro_patch.bench.timing import Effort, Timed


class Clockwork:
    """An accelerator whose clock moves by what the calls say that they take, once somebody waits."""

    device = "simulator"

    def __init__(self) -> None:
        self.now, self.waiting, self.log = 0.0, 0.0, []

    def takes(self, name: str, seconds: float):
        def call() -> None:
            self.log.append(name)
            self.waiting += seconds

        return call

    def wait(self) -> None:
        self.now, self.waiting = self.now + self.waiting, 0.0

    def clock(self) -> float:
        self.wait()
        return self.now


@contextmanager
def nothing():
    yield


def test_a_call_is_waited_for_and_a_queue_is_divided_by_its_length():
    clock = Clockwork()
    timed = {name: Timed([clock.takes(name, seconds)], nothing) for name, seconds in (("a", 0.002), ("b", 0.004))}
    timing.in_turns(timed, clock, Effort(rounds=3, repeats=4, queue=0.02))
    for name, seconds in (("a", 0.002), ("b", 0.004)):
        assert timed[name].synchronised == pytest.approx([seconds] * 12)
        assert timed[name].queued == pytest.approx([seconds] * 6)
    # 3 to warm up; then per round one before, 4 alone, and twice a queue of 20 ms.
    assert clock.log.count("a") == 3 + 3 * (1 + 4 + 2 * 10) and clock.log.count("b") == 3 + 3 * (1 + 4 + 2 * 5)


def test_contestants_take_turns_and_inputs_too():
    clock = Clockwork()
    timed = {
        "a": Timed([clock.takes("a0", 1), clock.takes("a1", 1)], nothing), "b": Timed([clock.takes("b", 1)], nothing)
    }  # fmt: skip
    timing.in_turns(timed, clock, Effort(rounds=2, repeats=1, queue=0, warm_up=0))
    letters = "".join(name[0] for name in clock.log)
    assert letters == "aaaa" + "bbbb" + "aaaa" + "bbbb"
    assert [name for name in clock.log if name[0] == "a"] == ["a0", "a1"] * 4


def test_queues_are_never_so_long_that_their_results_fill_the_memory():
    clock = Clockwork()
    timed = {"a": Timed([clock.takes("a", 1e-9)], nothing)}
    timing.in_turns(timed, clock, Effort(rounds=1, repeats=1, queue=10.0, warm_up=0))
    assert len(clock.log) == 2 + 2 * timing.QUEUE_MAX


def test_calls_run_in_their_scope_and_only_theirs():
    open_scopes, seen = [], []

    @contextmanager
    def scope(name):
        open_scopes.append(name)
        yield
        open_scopes.remove(name)

    timed = {
        name: Timed([lambda name=name: seen.append((name, *open_scopes))], lambda name=name: scope(name))
        for name in ("a", "b")
    }
    timing.in_turns(timed, Clockwork(), Effort(rounds=1, repeats=1))
    assert set(seen) == {("a", "a"), ("b", "b")}


def test_the_summary_is_the_median_and_the_distance_of_the_quartiles():
    assert timing.summary([0.001, 0.002, 0.003, 0.004, 1.0]) == pytest.approx(dict(median=3, spread=2, count=5))
    assert timing.summary([0.5]) == {"median": 500.0, "spread": 0.0, "count": 1}


def test_the_copy_rate_counts_what_is_read_and_what_is_written(monkeypatch):
    clock = Clockwork()
    monkeypatch.setitem(timing.COPY, "simulator", 4_000_000)
    clock.place = "cpu"
    real = torch.Tensor.copy_

    def copy(self, other):
        clock.waiting += 0.001
        return real(self, other)

    monkeypatch.setattr(torch.Tensor, "copy_", copy)
    assert timing.copy_rate(clock, Effort(replays=3)) == pytest.approx(2 * 4e6 / 0.001 / 1e9)
