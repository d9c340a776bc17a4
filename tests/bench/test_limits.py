"""benchmarks/limits.py: its cases are those of bench, and its page says what is missed and what binds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[2] / "benchmarks" / "limits.py"


@pytest.fixture
def limits(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(_PATH.parent), *sys.path])  # as Python runs a script
    specification = importlib.util.spec_from_file_location("benchmarks_limits", _PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_goal_is_of_a_case(limits):
    found = limits.chosen()
    assert [(case.op, goal) for case, goal in found[:2]] == [("stft", 0.125), ("istft", 0.130)]
    assert [(case.op, case.name, goal) for case, goal in found] == limits.GOALS


def test_a_page_says_what_is_missed_and_which_unit_is_busiest(limits):
    kernel = dict.fromkeys(limits.METRICS, 1.0) | {"L2": 79.0, "waits for a barrier": 2.0}
    rows = [
        dict(case="B1", op="stft", milliseconds=time, goal=0.1, bytes=300_000_000, kernel=kernel)
        for time in (0.09, 0.15)
    ]
    fast, slow = (line for line in limits.page(rows, "a GPU", 4000.0).splitlines() if "| 0.100 |" in line)
    assert fast.endswith("| 0.090 | 0.100 |  | 300.0 | 83 | L2 79 %; warps wait for a barrier |")
    assert "missed | 300.0 | 50 |" in slow
