"""doctor --first-run: everything in one JSON file, and a page that fits into an issue, whatever goes wrong."""

from __future__ import annotations

import json

import pytest
import torch

from mps_spectro_patch.bench import command, prediction
from mps_spectro_patch.bench.cases import SHAPES
from mps_spectro_patch.cli import commands
from mps_spectro_patch.diagnostics import doctor, first_run
from mps_spectro_patch.diagnostics.doctor_kernels import Finding
from mps_spectro_patch.kernels.launch import dispatch
from tests import like_mps

ISSUE = 65_536  # characters that one takes
FIRST_CHECKS = ("environment", "device")


@pytest.fixture
def run(device_name, tmp_path, capsys):
    def run() -> tuple[int, dict, str, str]:
        """(exit status, the JSON, the page, what was printed)."""
        code = commands.main(["doctor", "--device", device_name, "--first-run", str(tmp_path / "out")])
        files = {path.suffix: path for path in (tmp_path / "out").iterdir()}
        assert files.keys() == {".json", ".md"}
        assert {path.stem.endswith("-first-run") for path in files.values()} == {True}
        return code, json.loads(files[".json"].read_text()), files[".md"].read_text(), capsys.readouterr().out

    return run


@pytest.fixture
def quick(monkeypatch):
    """A few checks and kernels, and no times."""
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in FIRST_CHECKS})
    some = [source for source in doctor.sources(False) if source[1] in ("msp_stft", "msp_decibels")]
    monkeypatch.setattr(doctor, "sources", lambda full: some)
    monkeypatch.setattr(first_run, "time_seeds_cases", lambda device: None)


@pytest.mark.thorough
def test_a_run_tells_all_there_is_to_know(run):
    code, data, page, printed = run()
    wrong = [finding["check"] for finding in data["findings"] if finding["ok"] is False]
    assert wrong == (["speed of stft", "speed of istft"] if like_mps.wanted() else [])  # kernels run on the CPU there
    assert (code == 0) is data["healthy"] is (not wrong)
    assert not data["errors"] and page in printed and len(page) < ISSUE
    assert [finding["check"] for finding in data["findings"]][:3] == ["environment", "torch", "device"]
    assert {"kernels", "results", "front ends", "losses"} <= {finding["check"] for finding in data["findings"]}
    for when in ("cold", "warm"):
        rows = data["kernels"][when]
        assert {row["kernel"] for row in rows} == set(dispatch._files())
        for row in rows:
            assert row["ms"] > 0 and row["threads"] <= row["max_threads"] and row["simd_width"] == 32
            assert 0 < row["threadgroup_bytes"] <= 32_768
    assert all(f"\n| {name} | " in page for name in dispatch._files())
    assert {row["table"] for row in data["bench"]["rows"]} == {"stft", "istft", "gradient", "roundtrip"}
    assert "### STFT forward" in page and page.startswith(f"# First run: {data['name']}, torch {torch.__version__}")
    assert data["metal_text"] in page and data["verdict"] in page


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_every_family_of_kernels_is_among_those_that_are_compiled(full):
    assert {name for _, name, _, _ in doctor.sources(full)} == set(dispatch._files())


@pytest.mark.thorough
def test_the_seeds_own_cases_are_timed_beside_the_prediction(monkeypatch):
    timed = []
    monkeypatch.setattr(command, "_measure", lambda options, chosen, *_: timed.extend(chosen))
    monkeypatch.setattr(command, "shrunk", lambda case: case)
    data = command.time_seeds_cases("simulator")
    assert {(case.rows, case.samples, case.n_fft, case.hop_length) for case in timed} == {one[:4] for one in SHAPES}
    assert {case.table for case in timed} == {"stft", "istft", "gradient", "roundtrip"}
    row = {
        "table": "stft", "op": "stft", "case": timed[0].name, "key": timed[0].key, "published": [], "error": 1e-7,
        "bytes": timed[0].bytes_moved, "by": {}, "failed": {},
    }  # fmt: skip
    data = data | {"rows": [row], "machine": data["machine"] | {"device": "mps", "name": "Apple M1"}}
    text = first_run.page(_nothing() | {"bench": data})
    predicted = prediction.predicted(timed[0], prediction.chip("Apple M1"))
    assert "| predicted, Apple M1 |" in text and f" {predicted:.2f} |" in text


def test_a_part_that_fails_is_told_and_the_rest_goes_on(run, quick, monkeypatch):
    def fails(device):
        raise RuntimeError("MPS backend out of memory")

    real = dispatch.compile_shader
    monkeypatch.setattr(first_run, "time_seeds_cases", fails)
    monkeypatch.setattr(first_run, "_compiled_elsewhere", fails)

    def compile_shader(source, device):
        if "kernel void msp_decibels" in source:
            raise SyntaxError("error: no such type")
        return real(source, device)

    monkeypatch.setattr(first_run.kernels, "compile_shader", compile_shader, raising=False)
    code, data, page, _ = run()
    assert code == 1 and not data["healthy"] and data["bench"] is None and data["kernels"]["warm"] == []
    assert data["errors"] == [
        "the same in another process: RuntimeError: MPS backend out of memory",
        "the seed package's cases: RuntimeError: MPS backend out of memory",
    ]
    failed = [row for row in data["kernels"]["cold"] if "failed" in row]
    assert failed and {row["kernel"] for row in failed} >= {"msp_decibels"}
    assert "SyntaxError: error: no such type" in failed[0]["failed"]
    assert "* the seed package's cases: RuntimeError" in page and "| msp_stft | 5 of 5 |" in page
    assert "| msp_decibels | 0 of 1 |" in page


def test_warm_times_are_another_processs(quick, device_name, monkeypatch):
    seen = []

    def run(command, **options):
        seen.append(command)
        return type("Done", (), {"returncode": 1, "stderr": "Traceback\nMemoryError", "stdout": ""})

    monkeypatch.setattr(first_run.subprocess, "run", run)
    with pytest.raises(RuntimeError, match="MemoryError"):
        first_run._compiled_elsewhere(device_name)
    assert seen[0][0].endswith(("python", "python3")) or "python" in seen[0][0]
    assert f"compiled({device_name!r})" in seen[0][2]


def test_whatever_is_found_the_page_fits_into_an_issue():
    failures = {"failed": [f"kernel {number}: {'x' * 2000}" for number in range(500)]}
    many = [vars(Finding(f"check {number}", False, "y" * 3000, failures)) for number in range(200)]
    data = _nothing() | {"findings": many, "verdict": "NOT healthy", "errors": ["z" * 2000] * 3}
    text = first_run.page(data)
    assert len(text) < ISSUE and "and 488 more" in text and text.rstrip().endswith("The rest is in the JSON file.")


def _nothing() -> dict:
    return {
        "name": "Apple M1", "torch": "2.13", "package": "0", "date": "2026-12-01", "verdict": "healthy", "errors": [],
        "findings": [], "kernels": {"cold": [], "warm": []}, "bench": None, "metal_text": "0123",
    }  # fmt: skip


def test_a_folder_that_cannot_be_written_to_is_told_before_the_work(quick, device_name, tmp_path, capsys):
    (tmp_path / "out").touch()
    assert commands.main(["doctor", "--device", device_name, "--first-run", str(tmp_path / "out")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err
