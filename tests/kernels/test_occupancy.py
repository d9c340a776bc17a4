"""The table of what a core of an Apple GPU holds of each plan: that of the plans as they are, and nowhere hopeless."""

from __future__ import annotations

import csv
import importlib.util
import io
from dataclasses import replace
from pathlib import Path

import pytest

from mps_spectro_patch.kernels import plan

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def occupancy():
    specification = importlib.util.spec_from_file_location("occupancy", ROOT / "benchmarks" / "occupancy.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_table_is_that_of_the_plans(occupancy):
    assert occupancy.TABLE.read_text() == occupancy.table(), (
        "plans changed: run benchmarks/occupancy.py --write and look at the difference"
    )


def test_a_changed_plan_changes_the_table(occupancy, monkeypatch):
    stft_plan = plan.stft_plan
    monkeypatch.setattr(plan, "stft_plan", lambda n: replace(stft_plan(n), frames=1) if n == 1024 else stft_plan(n))
    assert occupancy.TABLE.read_text() != occupancy.table()


def test_every_plan_is_there_with_a_column_for_every_chip(occupancy):
    rows = list(csv.DictReader(io.StringIO(occupancy.TABLE.read_text())))
    for kind in ("stft", "istft"):
        assert [int(row["n_fft"]) for row in rows if row["kind"] == kind] == plan.supported_sizes()
    assert {"M1", "M2", "M3", "M4", "M5", "registers", "threadgroup_bytes"} <= rows[0].keys()


def test_every_plan_fits_the_usual_sizes_twice_and_only_the_largest_may_spill(occupancy):
    rows = list(csv.DictReader(io.StringIO(occupancy.TABLE.read_text())))
    assert min(int(row["M1"]) for row in rows) >= 1
    usual = [row for row in rows if row["kind"] != "general" and row["n_fft"] in ("400", "512", "1024", "2048", "4096")]
    assert len(usual) == 10 and min(int(row["M1"]) for row in usual) >= 2
    spilling = [row for row in rows if row["spilled"] != "0"]
    assert all(row["kind"] == "stft" and int(row["n_fft"]) > 8192 and int(row["spilled"]) <= 20 for row in spilling)
