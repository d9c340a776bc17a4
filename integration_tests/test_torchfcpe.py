"""torchfcpe, unmodified, with the weights that its wheel ships.

pip install torchaudio librosa einops && pip install --no-deps torchfcpe local-attention hyper-connections
pip install --no-deps pyannote.audio     # for the half minute of conversation in its wheel; never imported
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import pytest
import torch
from front_ends import DEVICE, OFFLINE, accelerated, both_ways, read_wav, recording, relative, sweep

import mps_spectro_patch as msp
from tests.compat.transfers import CountingFakeMode, moved_in_name
from tests.parity import mps_guard

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.usefixtures("offline")
torchfcpe = pytest.importorskip("torchfcpe", reason="torchfcpe is not installed")


def speech() -> tuple[torch.Tensor, int]:
    """Two people who talk, and talk over one another: [samples], at 16 kHz."""
    try:
        file = importlib.metadata.distribution("pyannote.audio").locate_file("pyannote/audio/sample/sample.wav")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no speech: pip install --no-deps pyannote.audio")
    return read_wav(Path(file))


SIGNALS = {"a sweep": lambda: (sweep(3), 16_000), "a guitar": lambda: recording(3), "speech": speech}
VOICED = {"a sweep": 0.5, "a guitar": 0.5, "speech": 0.3}


@pytest.fixture(scope="module")
def model():
    return torchfcpe.spawn_bundled_infer_model(device=DEVICE)


def pitch(model, signal, rate):
    f0 = model.infer(signal.to(DEVICE)[None, :, None], rate, decoder_mode="local_argmax", threshold=0.006)
    return f0[0, :, 0].cpu().double()


@pytest.mark.parametrize("name", SIGNALS)
def test_the_pitch_is_the_same_within_half_a_cent_and_the_front_end_one_launch(name, model, launches):
    signal, rate = SIGNALS[name]()
    expected = pitch(model, signal, rate)
    with accelerated():
        assert msp.status().projects["torchfcpe"].startswith("applied to torchfcpe 0.0.")
        got = pitch(model, signal, rate)
    assert len(launches) == 1
    voiced = expected > 0
    assert voiced.double().mean() > VOICED[name] and torch.equal(got > 0, voiced)
    assert float((1200 * torch.log2(got[voiced] / expected[voiced])).abs().max()) <= 0.5


@pytest.mark.parametrize("key_shift", [-12, -4, 3, 7])
def test_shifted_front_ends(key_shift, model, launches):
    signal = sweep(1).to(DEVICE)[None, :, None]
    expected = model.wav2mel(signal, 16_000, keyshift=key_shift)
    with accelerated():
        got = model.wav2mel(signal, 16_000, keyshift=key_shift)
    assert len(launches) == 1 and relative(got, expected) < 1e-4


def test_the_class_of_the_versions_before(launches):
    from torchfcpe.mel_extractor import MelExtractor

    mel, signal = MelExtractor(16_000, 128, 1024, 1024, 160, 0, 8000), sweep(1).to(DEVICE)[None, :, None]
    expected = mel(signal, 2)
    with accelerated():
        got = mel(signal, 2)
    assert len(launches) == 1 and relative(got, expected) < 1e-4


def test_loud_audio_is_told_as_ever(model, capsys):
    signal = 3 * sweep(1).to(DEVICE)[None, :, None]
    model.wav2mel(signal, 16_000)
    told = capsys.readouterr().out
    with accelerated():
        model.wav2mel(signal, 16_000)
    assert "max value is" in told and capsys.readouterr().out == told


def test_no_audio_leaves_an_apple_gpu(model):
    """Nor does it without the patch, which only spares it launches and waits. (The tensors have no values.)"""
    mps_guard.register()
    mel = torchfcpe.mel_extractor.MelModule(16_000, 128, 1024, 1024, 160, 0, 8000)
    with CountingFakeMode() as fake:
        moved_in_name(mel)
        signal = torch.zeros(1, 48_000, 1, device="mps:0")
        fake.seen.clear()
        with msp.accelerated(devices=("mps",), on_error="raise", on_fallback="raise"):
            got = mel(signal)
    assert got.shape == (1, 300, 128) and str(got.device) == "mps:0" and not fake.of_audio()


def test_by_the_command_line(installed, tmp_path):
    sources = Path(importlib.util.find_spec("torchfcpe").origin).parent
    before = {path: path.read_bytes() for path in sources.glob("*.py")}
    program = tmp_path / "program.py"
    program.write_text(f"""{OFFLINE}
import math
import torch
from torchfcpe import spawn_bundled_infer_model

signal = 0.4 * torch.sin(2 * math.pi * 220 * torch.arange(16000) / 16000)
model = spawn_bundled_infer_model(device={DEVICE!r})
f0 = model.infer(signal.to({DEVICE!r})[None, :, None], 16000, decoder_mode="local_argmax", threshold=0.006)
print("pitch", float(f0.median()))
print("ours", "mps_spectro_patch" in type(model.wav2mel.mel_extractor).__call__.__code__.co_filename)
""")
    printed = both_ways(program, installed)
    pitches = {}
    for way, text in printed.items():
        lines = dict(line.split(" ", 1) for line in text.splitlines() if line.startswith(("pitch", "ours")))
        assert lines["ours"] == str(way != "by itself"), text
        pitches[way] = float(lines["pitch"])
    assert abs(pitches["by itself"] - 220) < 1
    assert max(pitches.values()) / min(pitches.values()) < 2 ** (0.5 / 1200)
    assert {path: path.read_bytes() for path in sources.glob("*.py")} == before
