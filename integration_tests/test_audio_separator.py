"""audio-separator, unmodified, by its own Separator on a local model folder: the same stems, and no call lost.

The models are small and random, in the published formats (separator_models.py); the audio is a recording.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections import Counter
from pathlib import Path

import documented
import numpy
import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.cli.demo import AUDIO

PIP = 'pip install "audio-separator[cpu]"'
separator = pytest.importorskip("audio_separator.separator", reason=PIP)
soundfile = pytest.importorskip("soundfile", reason=PIP)
separator_models = pytest.importorskip("separator_models", reason=PIP)

DEVICE_NAME = os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")
DEVICE_TYPE = {"simulator": "cpu", "cuda": "cuda", "mps": "mps"}[DEVICE_NAME]
SNR = 90.0  # dB; float32 rounding is at 110 and above


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """models/ and mix.wav: three seconds of stereo, in float, so that what is written is not rounded."""
    folder = tmp_path_factory.mktemp("separator")
    separator_models.write(folder / "models")
    audio, rate = soundfile.read(AUDIO, frames=3 * 44100, start=44100, dtype="float32")
    soundfile.write(folder / "mix.wav", audio, rate, subtype="FLOAT")
    return folder


@pytest.fixture(autouse=True)
def _own_demucs():
    with separator_models.top_level_demucs():  # and then forgotten: the Separator must bring it in itself
        separator_models.forget_demucs()
        yield


def separate(folder: Path, name: str) -> dict[str, numpy.ndarray]:
    out = folder / "out"
    program = separator.Separator(
        log_level=logging.ERROR, model_file_dir=str(folder / "models"), output_dir=str(out), use_soundfile=True,
        **separator_models.PARAMETERS.get(name, {}),
    )  # fmt: skip
    assert program.torch_device.type == DEVICE_TYPE  # which it chose itself
    program.load_model(separator_models.MODELS[name])
    files = program.separate(str(folder / "mix.wav"))
    stems = {Path(file).name: soundfile.read(out / Path(file).name, dtype="float64")[0] for file in files}
    for file in stems:
        (out / file).unlink()
    return stems


@pytest.mark.parametrize("name", separator_models.MODELS)
def test_stems_are_the_same_and_every_call_is_fast(folder, name, monkeypatch, record_property):
    with monkeypatch.context() as patch:
        made = _count_calls(patch)
        expected = separate(folder, name)
    msp.enable(devices=(DEVICE_NAME,), on_error="raise")
    msp.reset_stats()
    stems = separate(folder, name)
    stats, state = msp.stats(), msp.status().projects["audio_separator"]
    msp.disable()

    assert made["stft"] and made["istft"]
    for op in ("stft", "istft"):
        elsewhere = made[op, "elsewhere"]  # on the CPU, the model on a GPU: Roformers call stft when they are made
        assert (stats[op].fast, stats[op].fallback) == (made[op], {"device": elsewhere} if elsewhere else {}), op
    assert stems.keys() == expected.keys() and len(stems) >= 2
    ratios = {file: _snr(expected[file], stems[file]) for file in stems}
    assert all(numpy.abs(expected[file]).max() > 1e-3 for file in stems), "a stem is silent"
    assert min(ratios.values()) >= SNR, ratios
    assert state.startswith("applied to audio-separator") and "unknown" not in state
    record_property("calls", dict(made))
    record_property("least SNR", f"{min(ratios.values()):.1f} dB")


def _count_calls(patch: pytest.MonkeyPatch) -> Counter:
    made: Counter = Counter()
    for op in ("stft", "istft"):
        original = getattr(torch, op)
        if op == "istft":
            original = documented.istft(original)

        @functools.wraps(original)
        def counting(input, *arguments, op=op, original=original, **options):
            made[op if input.device.type == DEVICE_TYPE else (op, "elsewhere")] += 1
            return original(input, *arguments, **options)

        patch.setattr(torch, op, counting)
    return made


def _snr(expected: numpy.ndarray, got: numpy.ndarray) -> float:
    assert expected.shape == got.shape
    noise = numpy.square(expected - got).sum()
    return 10 * numpy.log10(numpy.square(expected).sum() / noise) if noise else numpy.inf


def test_published_demucs_checkpoints_bring_in_top_level_classes_and_those_are_patched(folder):
    with msp.accelerated(devices=(DEVICE_NAME,)):
        separate(folder, "HTDemucs")
        assert sys.modules["demucs.spec"].__file__.startswith(str(Path(separator.__file__).parent))
        assert "demucs.spec.spectro" in msp.status().projects["audio_separator"]
