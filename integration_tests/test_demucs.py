"""Demucs from PyPI and demucs-infer, unmodified: the same stems, no call lost, and no spectrum on its way to the CPU.

The model is `demucs_unittest`, which both bring along: random weights, nothing to fetch. Or a small one in a folder.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import command_line
import documented
import numpy
import pytest
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.func import functional_call

import mps_spectro_patch as msp
from mps_spectro_patch.cli.demo import AUDIO
from mps_spectro_patch.compat.tools import complex_support
from mps_spectro_patch.compat.tools import windows as kept_windows
from tests.compat.transfers import CountingFakeMode, others
from tests.parity import mps_guard

soundfile = pytest.importorskip("soundfile")

DEVICE_NAME = os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")
DEVICE = {"simulator": "cpu", "cuda": "cuda", "mps": "mps"}[DEVICE_NAME]
# Of the command lines: torch's device and ours. demucs-infer's has taken MPS out of its devices.
OUTSIDE, OUTSIDE_NAME = ("cuda", "cuda") if DEVICE_NAME == "cuda" else ("cpu", "simulator")
PROGRAMS = {"demucs": "demucs", "demucs_infer": "demucs-infer"}
MPS = torch.device("mps:0")
HDEMUCS = dict(depth=6, dconv_lstm=9, dconv_attn=9)  # without the LSTMs, which take long


@pytest.fixture(params=PROGRAMS)
def package(request):
    name = request.param
    found = pytest.importorskip(name, reason=f"pip install {PROGRAMS[name]}")
    yield found
    for module in [module for module in sys.modules if module.partition(".")[0] == "demucs"]:
        del sys.modules[module]  # audio-separator has a copy under that name


@pytest.fixture
def audio() -> torch.Tensor:
    read, _ = soundfile.read(AUDIO, frames=66150, start=44100, dtype="float32")
    return torch.from_numpy(read.T.copy())[None]


def test_stems_are_the_same_and_every_call_is_fast(package, audio, monkeypatch):
    pretrained = importlib.import_module(f"{package.__name__}.pretrained")
    apply_model = importlib.import_module(f"{package.__name__}.apply").apply_model
    torch.manual_seed(0)
    model = pretrained.get_model("demucs_unittest").eval()

    def separate() -> torch.Tensor:
        with torch.no_grad():
            return apply_model(model, audio, shifts=0, split=True, segment=1, device=DEVICE).cpu().double()

    with monkeypatch.context() as patch:
        patch.setattr(torch, "istft", documented.istft(torch.istft))
        expected = separate()
    msp.reset_stats()
    with msp.accelerated(devices=(DEVICE_NAME,), on_error="raise", on_fallback="raise"):
        stems = separate()
        assert f"{package.__name__}.spec.spectro" in msp.status().projects["demucs"]
    assert stems.shape[:3] == (1, 4, 2) and float(expected.abs().max()) > 1e-3
    noise = (stems - expected).square().sum((-1, -2))
    assert float(10 * torch.log10(expected.square().sum((-1, -2)) / noise).min()) >= 90.0
    chunks = 2  # of one second, a quarter of which overlaps
    assert {op: (count.fast, count.fallback) for op, count in msp.stats().items()} == {
        "stft": (chunks, {}), "istft": (chunks, {})
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["HDemucs", "HTDemucs"])
def test_no_audio_and_no_spectrum_leaves_the_device(package, monkeypatch, kind):
    """On fake MPS tensors. Without compat the STFTs are ours as well: torch's istft cannot run on those."""
    mps_guard.register()
    module = importlib.import_module(f"{package.__name__}.{kind.lower()}")
    monkeypatch.setattr(module, "pad1d", torch.nn.functional.pad)  # asserts values, which fake tensors do not have
    monkeypatch.setattr(complex_support, "_supported", {MPS: True})
    monkeypatch.setattr(kept_windows, "_hann_windows", {})
    monkeypatch.setattr(kept_windows, "_may_be_kept", lambda window: True)
    # No attention, which aborts on fake MPS tensors in a torch without MPS.
    small = dict(depth=4, t_layers=0) if kind == "HTDemucs" else HDEMUCS
    model = getattr(module, kind)(sources=["a", "b"], channels=8, segment=1, **small).eval()
    with CountingFakeMode() as fake, torch.no_grad():
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        with unset_fake_temporarily():
            state = {name: tensor.detach() for name, tensor in state.items()}
        state = {name: fake.from_tensor(tensor).to("mps:0") for name, tensor in state.items()}
        signal = torch.randn(1, 2, 44100, device="mps")

        def transfers():
            fake.take()
            assert functional_call(model, state, (signal,)).shape == (1, 2, 2, 44100)
            return fake.take()

        with msp.accelerated(devices=("mps", "simulator"), compat=False):
            has_hop = "is_mps" in Path(module.__file__).read_text()  # demucs-infer >= 4.3: none, and no MPS at all
            if has_hop:
                assert sum(others(transfers()).values()) == 4
        with msp.accelerated(devices=("mps",), on_error="raise", on_fallback="raise"):
            assert not others(transfers())
            assert not transfers()


def separate(package, folder: Path, *before: str, **environment: str):
    """The stems by the program's own command line."""
    name = PROGRAMS[package.__name__]
    program = command_line.script(name, f"pip install {name}")
    command = [*before, program, "--repo", str(folder), "-n", "small", "-d", OUTSIDE, "--shifts", "0", "--float32",
               "-o", str(folder / "out"), str(folder / "mix.wav")]  # fmt: skip
    seen = command_line.run(command, folder, **environment)
    stems = {}
    for file in sorted((folder / "out").rglob("*.wav")):
        stems[file.name] = soundfile.read(file)[0]
        file.unlink()
    assert len(stems) == 4, seen.printed
    return stems, seen


def test_its_command_line_is_accelerated_from_outside(package, audio, tmp_path):
    soundfile.write(tmp_path / "mix.wav", audio[0].T.numpy(), 44100, subtype="FLOAT")
    kind = importlib.import_module(f"{package.__name__}.hdemucs").HDemucs
    options = dict(sources=["drums", "bass", "other", "vocals"], channels=8, segment=1, **HDEMUCS)
    state = kind(**options).state_dict()
    torch.save(dict(klass=kind, args=(), kwargs=options, state=state), tmp_path / "small.th")
    before = command_line.digest(package)
    plain, seen = separate(package, tmp_path)
    assert not seen.enabled
    run = (sys.executable, "-m", "mps_spectro_patch", "run", "--devices", OUTSIDE_NAME)
    ways = {"variable": ((), command_line.by_environment(OUTSIDE_NAME)), "run": (run, {})}
    if OUTSIDE == "cuda":
        plain = {}  # by itself it has CUDA's istft, see documented.py
    for way, (command, environment) in ways.items():
        stems, seen = separate(package, tmp_path, *command, **environment)
        plain = plain or stems
        assert seen.stats["stft"][0] == seen.stats["istft"][0] > 0, way
        assert seen.stats["stft"][1] == seen.stats["istft"][1] == 0, way
        for name, stem in stems.items():
            assert numpy.abs(stem - plain[name]).max() < 1e-5 < 1e-3 < numpy.abs(stem).max(), (way, name)
    assert command_line.digest(package) == before
