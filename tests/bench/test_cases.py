"""Every table of the seed is among the cases, with the bytes that the notes and the papers count."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mps_spectro_patch.bench import audio, sweep
from mps_spectro_patch.bench.cases import GRADIENTS, ROUND_TRIP, TABLES, Case, cases, shrunk
from mps_spectro_patch.bench.contestants import TORCH, contestants, inputs
from mps_spectro_patch.examples import denoise

from ..routes import route_istft, route_stft

SEEDS = [(1, 160_000, 1024), (4, 160_000, 1024), (4, 160_000, 2048), (8, 160_000, 1024), (16, 160_000, 1024),
         (4, 480_000, 1024), (4, 1_320_000, 1024), (1, 1_320_000, 1024)]  # fmt: skip


@pytest.mark.parametrize("op", ["stft", "istft", GRADIENTS["stft"], GRADIENTS["istft"], ROUND_TRIP])
def test_the_seeds_configurations_are_there_for_each_op(op):
    found = {(case.rows, case.samples, case.n_fft) for case in cases() if case.op == op}
    assert set(SEEDS) <= found


def test_each_table_of_the_seed_has_its_programs():
    labels = {case.label for case in cases()}
    for words in ("MDX", "Roformer", "Demucs", "mamba_amt", "RMVPE", "torchfcpe"):
        assert any(words in label for label in labels), words
    assert {case.table for case in cases()} == set(TABLES)
    demucs = next(case for case in cases() if case.label.startswith("Demucs"))
    assert demucs.normalized and (demucs.n_fft, demucs.rows) == (4096, 2) and demucs.samples % 44_100 == 0


def test_keys_tell_cases_apart_and_quick_leaves_some_out():
    keys = [case.key for case in cases()]
    assert len(keys) == len(set(keys))
    quick = cases(quick=True)
    assert 0 < len(quick) < len(keys) / 2 and {case.table for case in quick} == set(TABLES)
    assert {case.table for case in cases(("mel",))} == {"mel"}


@pytest.mark.parametrize(
    ("table", "op", "megabytes"),
    [("stft", "stft", 105.8), ("istft", "istft", 105.8), ("gradient", GRADIENTS["stft"], 211.5),
     ("roundtrip", ROUND_TRIP, 423.1), ("mel", "log-mel", 27.7)],
)  # fmt: skip
def test_bytes_are_inputs_once_and_outputs_once(table, op, megabytes):
    case = next(c for c in cases((table,)) if (c.op, c.rows, c.samples, c.n_fft) == (op, 4, 1_320_000, 1024))
    assert case.bytes_moved / 1e6 == pytest.approx(megabytes, rel=2e-3)


@pytest.mark.parametrize(("n_fft", "center"), [(400, True), (400, False), (250, True), (251, True), (251, False)])
def test_bytes_are_those_of_the_tensors(n_fft, center):
    case = Case("stft", "stft", 3, 5000, n_fft, 50, center=center)
    window = torch.hann_window(n_fft)
    (x,) = inputs(case, window)
    result = contestants("simulator")[0].make(case, window)(x)
    assert contestants("simulator")[0].name == TORCH
    assert case.bytes_moved == x.nbytes + result.nbytes


@pytest.mark.parametrize("case", [
    pytest.param(case, id=f"{case.op} {case.name}") for case in (*cases(), *sweep.cases(False))
    if case.op in ("stft", "istft")
])  # fmt: skip
def test_every_case_is_one_that_a_kernel_does(case):
    """On tensors without data: this is about sizes."""
    with FakeTensorMode():
        window = torch.empty(case.n_fft)
        options = dict(window=window, center=case.center, normalized=case.normalized, flags=("is_cpu",))
        if case.op == "stft":
            x = torch.empty(case.rows, case.samples)
            route = route_stft(x, case.n_fft, case.hop_length, return_complex=True, **options)
        else:
            spectrum = torch.empty(case.rows, case.n_fft // 2 + 1, case.frames, dtype=torch.complex64)
            route = route_istft(spectrum, case.n_fft, case.hop_length, length=case.samples, **options)
    assert route.fast, route


def test_shrunk_is_the_same_call_with_little_work():
    case = next(case for case in cases() if case.label.startswith("Demucs"))
    small = shrunk(case)
    assert (small.n_fft, small.hop_length, small.normalized, small.op) == (4096, 1024, True, case.op)
    assert small.bytes_moved < 1e6 and small.published is None


def test_the_sound_is_real_and_the_same_every_time():
    recording, rate, _ = denoise.read_wav(str(denoise.__file__.replace("denoise.py", "audio/guitar_on_vinyl.wav")))
    assert rate == audio.RATE and torch.equal(audio.sound(), recording.float())
    x = audio.signals(3, 500_000, "cpu", start=1)
    assert torch.equal(x, audio.signals(3, 500_000, "cpu", start=1)) and x.shape == (3, 500_000)
    assert not torch.equal(x, audio.signals(3, 500_000, "cpu")) and not torch.equal(x[0], x[2])
    length = recording.shape[1]
    assert torch.equal(x[0, :1000], x[0, length : length + 1000])  # it begins again


def test_without_the_recording_it_is_made_up_and_no_silence(monkeypatch, tmp_path):
    monkeypatch.setattr(denoise, "__file__", str(tmp_path / "denoise.py"))
    audio.sound.cache_clear()
    try:
        made_up = audio.sound()
    finally:
        monkeypatch.undo()
        audio.sound.cache_clear()
    assert made_up.shape == (2, 5 * audio.RATE) and torch.equal(made_up, audio.made_up())
    assert 0.02 < float(made_up.std()) < 0.5 and float(made_up.abs().max()) < 1.5
    assert not torch.equal(made_up[0], made_up[1])
