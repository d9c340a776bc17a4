"""The table of what a core of an Apple GPU holds of each plan: that of the plans as they are, and nowhere hopeless."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mps_spectro_patch.kernels.launch import features, smooth_size
from mps_spectro_patch.kernels.plans import fft
from tests.conformance import sources

ROOT = Path(__file__).parents[2]
CHIPS = {"M1", "M2", "M3 (as M2)", "M4 (as M2)", "M5 (as M2)"}


@pytest.fixture(scope="module")
def occupancy():
    specification = importlib.util.spec_from_file_location("occupancy", ROOT / "benchmarks" / "occupancy.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["occupancy"] = module  # where its dataclasses look for their own annotations
    specification.loader.exec_module(module)
    yield module
    del sys.modules["occupancy"]


@pytest.fixture(scope="module")
def rows(occupancy) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(occupancy.TABLE.read_text())))


def test_the_table_is_that_of_the_plans(occupancy):
    assert occupancy.TABLE.read_text() == occupancy.table(), (
        "plans changed: run benchmarks/occupancy.py --write and look at the difference"
    )


@pytest.mark.parametrize("name", ["stft_plan", "istft_plan", "registers_plan", "transform", "features"])
def test_a_changed_plan_changes_the_table(name, occupancy, rows, monkeypatch):
    """Of one size: every place that a plan comes from is looked at."""
    module, name = (features, "_program") if name == "features" else (fft, name)
    original = getattr(module, name)

    def changed(n_fft, *more):
        found = original(n_fft, *more)
        if n_fft not in (400, 399) or found is None:
            return found
        if isinstance(found, fft.Plan):
            return replace(found, frames=1)
        return replace(found, plan=replace(found.plan, frames=1))

    monkeypatch.setattr(module, name, changed)
    assert occupancy.TABLE.read_text() != occupancy.table()


def test_every_plan_that_a_kernel_is_generated_from_has_its_row(occupancy, rows):
    plans: dict[str, set[fft.Plan]] = {}
    in_registers = set()
    for one in occupancy.launched():
        # Bands take memory from frames: with more or fewer of them there are fewer or more frames.
        plans.setdefault(one.kind, set()).add(replace(one.plan, frames=0) if one.kind == "features" else one.plan)
        in_registers |= {(replace(one.plan, shift=shift), one.threadgroup_bytes) for shift in one.shifts}
    for source in sources.everything():
        if (which := source.plan) is None:
            continue
        if source.kernel.endswith("features"):
            assert replace(which, frames=0) in plans["features"], source.label
        elif "_any_" in source.kernel:
            assert which in plans["general"], source.label
        elif which.overlap == "registers":
            assert (which, which.threadgroup_bytes) in in_registers, source.label
        else:
            assert which in plans["istft" if which.inverse else "stft"], source.label
    assert len(rows) == sum(1 for _ in occupancy.launched())


def test_there_is_a_column_for_every_chip_and_it_says_whose_figures_it_has(occupancy, rows):
    assert CHIPS | {"registers", "registers_from", "threadgroup_bytes", "shifts"} <= rows[0].keys()
    assert occupancy.CORES.keys() == CHIPS
    for name, core in occupancy.CORES.items():  # a figure of one's own needs no "as"
        assert (core == occupancy.CORES["M2"]) is (name in ("M1", "M2") or name.endswith("(as M2)"))


@pytest.mark.skipif(os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="asks the CPU build")
@pytest.mark.parametrize("kind, n_fft, shift", [
    ("stft", 400, 0), ("istft", 1024, 0), ("registers", 400, 4), ("features", 400, 0), ("features", 211, 0),
    ("gradient", 400, 0), ("gradient", 211, 0),
])  # fmt: skip
def test_the_threadgroup_memory_of_a_row_is_that_of_the_compiled_kernel(kind, n_fft, shift, occupancy):
    device = torch.device("cpu")
    if kind in ("features", "gradient"):
        one = occupancy._of_features(kind, n_fft)
        kernel, which = features.kernel(n_fft, occupancy._BANDS, kind == "gradient", device, "clamp")
    else:
        rows = (one for one in occupancy.launched() if (one.kind, one.n) == (kind, n_fft))
        one = next(one for one in rows if not shift or shift in one.shifts)
        which = one.plan
        kernel = smooth_size.kernel(which, smooth_size.Kind("msp_stft" if kind == "stft" else "msp_istft"), device)
    assert (kernel.static_thread_group_memory_length, which.threads) == (one.threadgroup_bytes, one.plan.threads)


def test_every_plan_fits_the_usual_sizes_twice_and_only_the_largest_may_spill(rows):
    assert min(int(row["M1"]) for row in rows) >= 1
    usual = [row for row in rows if row["n_fft"] in ("400", "512", "1024", "2048", "4096")]
    usual = [row for row in usual if row["kind"] in ("stft", "istft", "features", "gradient")]
    assert len(usual) == 20 and min(int(row["M1"]) for row in usual) >= 2
    spilling = [row for row in rows if row["spilled"] != "0"]
    compiled = [row for row in spilling if row["registers_from"] == "compiler"]
    assert not [row for row in compiled if row["kind"] in ("stft", "istft", "registers") and int(row["n_fft"]) <= 8192]
    spilling = [row for row in spilling if row not in compiled]  # what the estimate says of the others
    assert {row["kind"] for row in spilling} <= {"stft", "registers", "features"}
    assert all(int(row["threads"]) >= 448 and int(row["spilled"]) <= 20 for row in spilling)


def test_registers_are_those_of_the_compiled_kernel_where_there_is_one(occupancy, rows):
    kept = occupancy.results.read()
    by = {(row["kind"], row["n_fft"]): row for row in rows if row["registers_from"] == "compiler"}
    for kind, name in (
        ("stft", "stft"),
        ("istft", "istft, gather"),
        ("features", "log-mel"),
        ("registers", "istft, hop n/4"),
    ):
        assert int(by[kind, "1024"]["registers"]) == -(-kept.find(name, 1024).demand // 2), kind
    assert {row["registers_from"] for row in rows} == {"compiler", "estimate"}
    assert all(core.registers_max == 128 for core in occupancy.CORES.values())
