"""benchmarks/front_end_share.py: what it times, and that one project's failure is not the end of it."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

import mps_spectro_patch as msp

_PATH = Path(__file__).parents[2] / "benchmarks" / "front_end_share.py"


@pytest.fixture
def share(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    specification = importlib.util.spec_from_file_location("benchmarks_front_end_share", _PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def spectra(region, dtype=torch.float32) -> None:
    signal, window = torch.ones(1, 4096, dtype=dtype), torch.hann_window(512, dtype=dtype)
    torch.stft(signal, 512, window=window, return_complex=True)  # not in the region
    with region:
        spectrum = torch.stft(signal, 512, window=window, return_complex=True)
        torch.istft(spectrum, 512, window=window)


class Nested:
    def outer(self) -> str:
        return self.inner()

    def inner(self) -> str:
        return "result"


def test_calls_within_calls_count_once_and_nothing_stays_wrapped(share):
    before, inherited = dict(vars(Nested)), type("Inherited", (Nested,), {})
    clock = share.Clock(lambda: None)
    functions = (((Nested, "outer"), (Nested, "inner"), (inherited, "inner")), "")
    with share.timed(share.Job("", "", 1.0, spectra, functions), clock):
        assert Nested().outer() == inherited().inner() == "result"
    assert clock.calls == 2 and clock.seconds > 0
    assert dict(vars(Nested)) == before and "inner" not in vars(inherited)


def test_a_job_is_timed_as_it_is_and_patched_and_calls_that_fall_back_are_told(share):
    job = share.Job("project", "model", 1.0, spectra)
    result = share.compare(job, "simulator", repeats=2, patience=0.0)
    assert not msp.is_enabled() and torch.stft is torch.functional.stft
    for measured in (result["without"], result["patched"]):
        assert measured["runs"] == 2 and measured["calls"] == 3
        assert measured["whole"] > 0 and measured["front_end"] > 0
    assert not result["fallbacks"]
    assert share.cells(result)[:5] == ["project", "model", "1 s", "torch.stft, torch.istft", "3"]
    job = share.Job("project", "model", 1.0, functools.partial(spectra, dtype=torch.float64))
    assert "fell back" in share.cells(share.compare(job, "simulator", repeats=2, patience=0.0))[4]


def test_what_fails_is_named_and_the_rest_goes_on(share, tmp_path, monkeypatch, capsys):
    def fails(setting):
        def make():
            raise ImportError("no such project\nand more")

        yield make
        yield lambda: share.Job("project", "model", 1.0, spectra)

    monkeypatch.setitem(share.PROJECTS, "torchfcpe", fails)
    command = ["", "--device", "simulator", "--only", "torchfcpe", "--repeats", "2", "--out", str(tmp_path / "table")]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert share.main() == 0
    report = json.loads((tmp_path / "table.json").read_text())
    assert report["missing"] == {"torchfcpe (1)": "ImportError: no such project"}
    assert [one["project"] for one in report["results"]] == ["project"]
    table = (tmp_path / "table.md").read_text()
    assert "| project | model | 1 s |" in table and "no such project" in table
