"""RMVPE as infer-rvc-python has it, unmodified, with random weights (nobody may fetch the real ones here).

    pip install librosa && pip install --no-deps infer-rvc-python

Its file is loaded by its path, under a name of its own: the package itself wants ffmpeg, fairseq and more.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from front_ends import DEVICE, OFFLINE, accelerated, both_ways, recording, relative, sweep

import mps_spectro_patch as msp
from tests.compat.transfers import CountingFakeMode, moved_in_name
from tests.parity import mps_guard

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.usefixtures("offline")
FOUND = importlib.util.find_spec("infer_rvc_python")
if FOUND is None:
    pytest.skip("infer-rvc-python is not installed", allow_module_level=True)
FILE = Path(FOUND.submodule_search_locations[0]) / "lib" / "rmvpe.py"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rmvpe(tmp_path_factory):
    """Its module, and the class on random weights."""
    module, path = load("somebodys_rmvpe"), tmp_path_factory.mktemp("rmvpe") / "random.pt"
    torch.manual_seed(1)
    torch.save(module.E2E(4, 1, (2, 2)).state_dict(), path)
    return module, lambda **options: module.RMVPE(str(path), **{"is_half": False, "device": DEVICE, **options})


def test_the_whole_estimator_gives_the_same_pitch(rmvpe, launches):
    estimator = rmvpe[1]()
    signal = sweep(2).numpy()
    expected = estimator.infer_from_audio(signal, thred=0.0)
    with accelerated():
        estimator.infer_from_audio(signal[:16_000], thred=0.0)  # a class of any name is found by its first call
        launches.clear()
        got = estimator.infer_from_audio(signal, thred=0.0)
    assert len(launches) == 1 and got.shape == expected.shape == (201,) and np.all(expected > 0)
    assert np.max(np.abs(1200 * np.log2(got / expected))) <= 0.5


@pytest.mark.parametrize("keyshift", [-12, -4, 0, 3, 12])
@pytest.mark.parametrize("is_half", [False, True])
def test_its_front_end(keyshift, is_half, rmvpe, launches):
    mel = rmvpe[0].MelSpectrogram(is_half, 128, 16_000, 1024, 160, None, 30, 8000).to(DEVICE)
    signal = torch.stack([sweep(1), torch.randn(16_000) / 9]).to(DEVICE)
    expected = mel(signal, keyshift=keyshift, speed=1.2)
    with accelerated():
        mel(signal)
        launches.clear()
        got = mel(signal, keyshift=keyshift, speed=1.2)
    assert len(launches) == 1 and got.stride() == expected.stride()
    assert got.dtype is (torch.float16 if is_half else torch.float32)
    assert relative(got, expected) < (1e-3 if is_half else 2e-5)


def test_a_recording(rmvpe):
    signal, rate = recording(1)
    mel = rmvpe[0].MelSpectrogram(False, 128, rate, 1024, 160, None, 30, 8000).to(DEVICE)
    expected = mel(signal[None].to(DEVICE))
    with accelerated():
        mel(signal[None].to(DEVICE))
        got = mel(signal[None].to(DEVICE))
    assert relative(got, expected) < 1e-4


def test_no_audio_leaves_an_apple_gpu(rmvpe):
    """Nor does it without the patch. (The tensors have no values.)"""
    mps_guard.register()
    mel = rmvpe[0].MelSpectrogram(False, 128, 16_000, 1024, 160, None, 30, 8000)
    for patched in (False, True):
        with CountingFakeMode() as fake:
            moved_in_name(mel).hann_window.clear()
            signal = torch.zeros(1, 48_000, device="mps:0")
            fake.seen.clear()
            with msp.accelerated(devices=("mps",) if patched else (), on_error="raise", on_fallback="raise"):
                got = mel(signal, keyshift=-4)
        assert got.shape == (1, 128, 300) and str(got.device) == "mps:0"
        assert not fake.of_audio() and [one.shape for one in fake.seen] == [(813,)]  # its window


def test_by_the_command_line(installed, tmp_path, rmvpe):
    before = FILE.read_bytes()
    program = tmp_path / "program.py"
    program.write_text(f"""{OFFLINE}
import importlib.util, math
import torch
spec = importlib.util.spec_from_file_location("anything", {str(FILE)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
mel = module.MelSpectrogram(False, 128, 16000, 1024, 160, None, 30, 8000).to({DEVICE!r})
signal = 0.4 * torch.sin(2 * math.pi * 220 * torch.arange(16000) / 16000)[None].to({DEVICE!r})
mel(signal)
print("sum", float(mel(signal).double().sum()))
print("ours", "mps_spectro_patch" in type(mel).forward.__code__.co_filename)
""")
    sums = {}
    for way, text in both_ways(program, installed).items():
        lines = dict(line.split(" ", 1) for line in text.splitlines() if line.startswith(("sum", "ours")))
        assert lines["ours"] == str(way != "by itself"), text
        sums[way] = float(lines["sum"])
    assert max(abs(one / sums["by itself"] - 1) for one in sums.values()) < 1e-4
    assert FILE.read_bytes() == before
