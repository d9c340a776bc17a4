"""A goal is reached or missed by what was measured; every goal is about a case that bench measures."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

from mps_spectro_patch.bench.cases import cases
from mps_spectro_patch.bench.compare import load

_PATH = Path(__file__).parents[2] / "benchmarks" / "goals.py"
_SPEC = importlib.util.spec_from_file_location("benchmarks_goals", _PATH)
goals = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(goals)


def test_every_goal_has_its_case():
    for goal in goals.GOALS:
        assert any(case.op == goal.op and case.name.startswith(goal.case) for case in cases()), goal


def test_what_is_slower_than_its_goal_is_missed_and_what_was_not_measured_too():
    data = load(goals.KEPT)
    fast = copy.deepcopy(data)
    for row in fast["rows"]:
        for kind in ("device", "synchronised"):
            row["by"]["ours"][kind]["median"] = 0.001
    assert goals.judged(fast)[1] == 0
    slow = copy.deepcopy(fast)
    row = next(row for row in slow["rows"] if row["op"] == "istft" and row["n_fft"] == 8192)
    row["by"]["ours"]["device"]["median"] = 0.121
    text, missed = goals.judged(slow)
    assert missed == 1 and "| 0.120 | 0.121 |" in text
    fast["rows"].remove(next(row for row in fast["rows"] if row["op"] == "istft" and row["n_fft"] == 8192))
    assert goals.judged(fast)[1] == 1 and "not measured" in goals.judged(fast)[0]
