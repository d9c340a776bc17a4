"""`doctor --tune`: the rule is what was measured, kept for this device and these versions, and routing follows it."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.bench import sweep, timing
from mps_spectro_patch.bench.cases import Case
from mps_spectro_patch.cli import commands
from mps_spectro_patch.diagnostics import doctor_tuning
from mps_spectro_patch.execution import call_cache, call_sites, tuning
from mps_spectro_patch.options import OPS
from mps_spectro_patch.reasons import Reason
from mps_spectro_patch.routing import decision

from .. import like_mps

FRAMES = 1 + 4000 // 160


@pytest.fixture
def signal(torch_device):
    x, window = torch.randn(2, 4000, device=torch_device), torch.hann_window(400, device=torch_device)
    return x, dict(n_fft=400, hop_length=160, window=window, return_complex=True)


def work(rows: int) -> int:
    return rows * FRAMES * 400


def row(n_fft: int, frames: int, below: str = "") -> dict:
    kinds = {"": [], "one": ["queued"], "both": ["synchronised", "queued"]}[below]
    return {"op": "stft", "n_fft": n_fft, "frames": frames, "work": n_fft * frames, "below": kinds}


@pytest.mark.parametrize(
    ("rows", "least"),
    [
        ([row(400, 1), row(400, 2)], 0),
        ([row(400, 1, "both"), row(400, 2, "both"), row(400, 4)], 801),
        ([row(400, 1, "both"), row(400, 2), row(400, 4, "both")], 401),  # one after the other, from the smallest on
        ([row(400, 1, "one"), row(400, 2, "both")], 0),  # by both times
        ([row(400, 4), row(400, 1, "both"), row(1024, 1, "both"), row(1024, 2, "both"), row(1024, 4)], 401),
        ([row(400, 1, "both"), row(1024, 1)], 0),  # of all sizes the least
        ([], 0),
    ],
)  # fmt: skip
def test_the_rule_is_the_least_work_that_is_worth_a_kernel(rows, least):
    assert doctor_tuning.least_work(rows) == least


def test_the_sweep_goes_from_one_frame_to_100_mb():
    chosen = list(sweep.cases(False))
    for op in ("stft", "istft"):
        for n_fft in sweep.SIZES:
            series = [case for case in chosen if (case.op, case.n_fft) == (op, n_fft)]
            assert [case.frames for case in series] == [4**k for k in range(len(series))]
            assert 100e6 / 4.2 < series[-1].bytes_moved <= 100e6
    assert {case.op for case in chosen} == set(sweep.OPS)


@pytest.mark.parametrize("op", sweep.OPS)
def test_one_frame_is_measured_and_compared_with_torch(op, everybody, accelerator):
    case = next(case for case in sweep.cases(True) if case.op == op)
    found = sweep.measure(case, everybody, accelerator, timing.TINY)
    assert found["factors"]["queued"] == pytest.approx(
        found["by"]["torch"]["queued"]["median"] / found["by"]["ours"]["queued"]["median"])  # fmt: skip
    assert found["below"] == [kind for kind in ("synchronised", "queued") if found["factors"][kind] < 0.95]


def test_the_sweep_says_where_it_is_below_torch():
    losing = {**row(400, 1, "one"), "factors": {"synchronised": 2.0, "queued": 0.5}}
    fine = {**row(400, 4), "factors": {"synchronised": 2.0, "queued": 2.0}}
    assert sweep.verdict([losing, fine]) == ["stft: below torch at n_fft 400, 1 frames: 0.50x queued"]
    assert sweep.verdict([fine]) == ["stft: nowhere below torch, over 1 sizes"]


@pytest.fixture
def tuned(cache, torch_device):
    """A rule under which calls of one row are too small, and those of two are not."""
    tuning.keep(torch.zeros(0, device=torch_device).device, {"stft": work(1) + 1, "istft": work(1) + 1})
    return cache


def test_small_calls_go_to_torch_and_no_others(tuned, signal, device_name):
    x, options = signal
    with msp.accelerated(devices=(device_name,)):
        torch.stft(x, **options)
        for _ in range(3):
            spectrum = torch.stft(x[:1], **options)
        torch.stft(x[0], **options)
        back = {name: options[name] for name in ("n_fft", "hop_length", "window")}
        torch.istft(spectrum, **back)
        torch.istft(spectrum.expand(2, -1, -1).contiguous(), **back)
        counts = msp.stats()
        route = msp.explain(torch.stft, x[:1], **options)
    assert counts["stft"].fast == 1 and counts["stft"].fallback == {"tuned": 4}
    assert counts["istft"].fast == 1 and counts["istft"].fallback == {"tuned": 1}
    assert route.reason is Reason.TUNED and "doctor --tune off" in route.advice


def test_results_of_small_calls_are_torchs_own_bits(tuned, signal, device_name):
    x, options = signal
    with msp.accelerated(devices=(device_name,)):
        assert torch.equal(torch.stft(x[:1], **options), torch.functional.stft(x[:1], **options))


def test_calls_with_a_gradient_stay(tuned, signal, device_name):
    x, options = signal
    with msp.accelerated(devices=(device_name,)):
        torch.stft(x[:1].requires_grad_(), **options)
        assert msp.stats()["stft"].fast == 1
        with torch.no_grad():
            torch.stft(x[:1].requires_grad_(), **options)
        torch.stft(x[:1].detach(), **options)
        assert msp.stats()["stft"].fallback == {"tuned": 2}


def test_what_torch_refuses_is_refused_for_its_own_reason(tuned, signal, device_name, float64):
    x, options = signal
    with msp.accelerated(devices=(device_name,)):
        assert msp.explain(torch.stft, x[:1].double(), **options).reason is Reason.DTYPE


def test_without_a_rule_nothing_is_asked_and_nothing_falls_back(cache, signal, device_name, monkeypatch):
    x, options = signal
    monkeypatch.setattr(decision, "_work", lambda *_: pytest.fail("work was counted without a rule"))
    with msp.accelerated(devices=(device_name,)):
        torch.stft(x[0, :500], **options)
    assert msp.stats()["stft"].fallback == {} and call_cache.least_work is None


@pytest.mark.parametrize("key", ["package", "torch", "device"])
def test_a_rule_of_another_version_or_device_does_not_hold(key, tuned, signal, device_name):
    (entry,) = json.loads((tuned / "tuned.json").read_text())
    (tuned / "tuned.json").write_text(json.dumps([{**entry, key: "another"}]))
    tuning.apply(again=True)
    x, options = signal
    with msp.accelerated(devices=(device_name,)):
        torch.stft(x[:1], **options)
    assert msp.stats()["stft"].fast == 1


BROKEN = ["", "{}", "[1]", '[{"least_work": 3}]', "[", "null", "3", "true", '"x"', "[null]", "[[]]", "[{}]",
          '{"least_work": {}}', "[" * 100_000, "1" * 5000, "\xff\xfe"]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_no_rule_and_one_warning(text, cache, device_name, capsys, caplog):
    (cache / "tuned.json").write_text(text, encoding="latin-1")
    tuning.apply(again=True)
    assert call_cache.least_work is None
    msp.enable(devices=(device_name,))
    msp.disable()
    tuning.apply(again=True)
    assert [r.levelname for r in caplog.records if "tuned.json is ignored" in r.message] == ["WARNING"]
    assert commands.main(["doctor", "--device", device_name, "--tune", "off"]) == 0
    assert (cache / "tuned.json").read_text() == "[]"


def test_a_file_that_cannot_be_read_is_no_rule(cache, caplog):
    (cache / "tuned.json").mkdir()
    tuning.apply(again=True)
    assert call_cache.least_work is None and "tuned.json is ignored" in caplog.text


def test_a_rule_for_a_device_that_has_no_name_is_none(cache):
    (cache / "tuned.json").write_text('[{"device": 1, "least_work": {}}]')
    tuning.apply(again=True)
    assert call_cache.least_work is None


def test_a_rule_that_is_no_number_is_none(tuned):
    (entry,) = json.loads((tuned / "tuned.json").read_text())
    (tuned / "tuned.json").write_text(json.dumps([{**entry, "least_work": {"stft": "all", "istft": None}}]))
    tuning.apply(again=True)
    assert call_cache.least_work is None


def test_the_file_is_read_by_enable_and_by_no_call(tuned, signal, device_name, monkeypatch):
    opened = []
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: opened.append(self.name) or real(self, *a, **k))
    msp.enable(devices=(device_name,))
    assert opened.count("tuned.json") == 1
    x, options = signal
    torch.stft(x[:1], **options)  # what is needed for the first time is loaded
    opened.clear()
    monkeypatch.setattr(builtins, "open", lambda *a, **k: pytest.fail(f"opened {a}"))
    torch.stft(x[:1], **options)
    with msp.accelerated(devices=(device_name,)):
        torch.stft(x[:1], **options)
    monkeypatch.undo()
    msp.disable()
    assert not opened and msp.stats()["stft"].fallback == {"tuned": 3}


def test_the_variable_leaves_a_rule_alone(tuned, signal, device_name, monkeypatch):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_TUNED", "0")
    tuning.apply(again=True)
    x, options = signal
    with msp.accelerated(devices=(device_name,)):
        torch.stft(x[:1], **options)
    assert msp.stats()["stft"].fast == 1


@pytest.mark.parametrize("calls", [1, 4])  # of several the last are launched without asking routing
def test_answers_from_before_a_rule_are_forgotten(cache, calls, signal, device_name, torch_device, monkeypatch):
    monkeypatch.setattr(call_sites, "FIRST", 0)
    x, options = signal
    x = x[:1]
    with msp.accelerated(devices=(device_name,)):
        for _ in range(calls):
            torch.stft(x, **options)
        tuning.keep(torch_device if torch_device.index else torch.zeros(0, device=torch_device).device, {"stft": 10**9})
        torch.stft(x, **options)
    assert (msp.stats()["stft"].fast, msp.stats()["stft"].fallback) == (calls, {"tuned": 1})


def test_entering_a_scope_forgets_no_answers(tuned, signal, device_name):
    x, options = signal
    with msp.accelerated(devices=(device_name,)):
        torch.stft(x, **options)
        before = dict(call_cache.entries)
        with msp.accelerated(devices=(device_name,)):
            pass
    with msp.accelerated(devices=(device_name,)):
        assert before and call_cache.entries == before


def test_ignored_is_over_when_it_ends(tuned, signal, device_name):
    x, options = signal
    with msp.accelerated(devices=(device_name,)):
        with tuning.ignored():
            torch.stft(x[:1], **options)
        torch.stft(x[:1], **options)
    assert (msp.stats()["stft"].fast, msp.stats()["stft"].fallback) == (1, {"tuned": 1})


def losing_below(limit: int):
    """sweep.measure where torch wins below so much work, and our device after that."""

    def measure(case: Case, *_: object) -> dict:
        frames = case.frames * case.n_fft
        return {"op": case.op, "n_fft": case.n_fft, "work": frames,
                "below": ["synchronised", "queued"] if frames < limit and case.op == "stft" else []}  # fmt: skip

    return measure


def test_doctor_tune_measures_keeps_and_tells(cache, signal, device_name, monkeypatch, capsys):
    cases = list(sweep.cases(device_name == "simulator", OPS, doctor_tuning.LARGEST, doctor_tuning.STEP))
    smallest = {case.n_fft: case.frames * case.n_fft for case in sorted(cases, key=lambda case: -case.frames)}
    monkeypatch.setattr(sweep, "measure", losing_below(max(smallest.values()) + 1))
    assert commands.main(["doctor", "--device", device_name, "--tune"]) == 0
    output = capsys.readouterr().out
    assert "rule for stft: torch is faster below" in output and "rule for istft: torch is nowhere faster" in output
    (entry,) = json.loads((cache / "tuned.json").read_text())
    assert set(entry["least_work"]) == {"stft"} and entry["torch"] == torch.__version__
    assert str(cache / "tuned.json") in output
    assert commands.main(["doctor", "--device", device_name, "--tune", "off"]) == 0
    assert json.loads((cache / "tuned.json").read_text()) == [] and "there is none in" in capsys.readouterr().out


@pytest.mark.parametrize("tune", ["measure", "off"])
def test_doctor_tune_as_json_is_json(tune, cache, device_name, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "measure", losing_below(900))
    assert commands.main(["doctor", "--device", device_name, "--json", "--tune", tune]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["device"] == device_name and data["findings"][-1]["check"] == "rule"


@like_mps.cannot("the calls are as large as on a GPU")
def test_doctor_tune_with_real_measurements(cache, device_name, capsys):
    assert commands.main(["doctor", "--device", device_name, "--tune"]) == 0
    assert "rule for istft" in capsys.readouterr().out and (cache / "tuned.json").exists()


def test_a_new_rule_replaces_that_of_this_device_and_keeps_others(cache, torch_device):
    device = torch.zeros(0, device=torch_device).device
    tuning.keep(device, {"stft": 5})
    entries = json.loads((cache / "tuned.json").read_text())
    (cache / "tuned.json").write_text(json.dumps([*entries, {**entries[0], "device": "another"}]))
    tuning.keep(device, {"istft": 7})
    found = {entry["device"]: entry["least_work"] for entry in json.loads((cache / "tuned.json").read_text())}
    assert found == {"another": {"stft": 5}, tuning.device_name(device): {"istft": 7}}


@pytest.mark.thorough
def test_doctor_checks_the_kernels_whatever_the_rule(tuned, device_name, monkeypatch):
    from mps_spectro_patch.diagnostics import doctor, doctor_kernels

    seen = []
    for name in ("compiles", "is_fast"):
        monkeypatch.setattr(doctor_kernels, name, lambda *_: iter(()))
    monkeypatch.setattr(doctor_kernels, "is_right", lambda *_: seen.append(call_cache.least_work) or iter(()))
    assert doctor.run_doctor(device_name) == 0
    assert seen == [None] and call_cache.least_work is not None
