"""RMVPE's front end, on a stand-in of the class that many projects have a copy of."""

from __future__ import annotations

import copy
import functools
import importlib.util
import pickle
import re
import sys
import types

import pytest
import torch

import mps_spectro_patch as msp
from tests.front_ends.reference import LOG_MAX_ABS, assert_absolute, away_from_the_clamp, rmvpe64
from tests.tiers import some

from .conftest import HERE, bank

SOURCE = HERE / "stand_in" / "rmvpe_of_somebody.py"
BASIS = bank(1024, 30, 8000, 128, 16000, "slaney")


@pytest.fixture
def module(stand_in):
    return stand_in("rmvpe_of_somebody")


@pytest.fixture
def audio(torch_device):
    return torch.randn(2, 6000, device=torch_device) / 4


def judge(got, expected):
    assert_absolute(got, expected, LOG_MAX_ABS, away_from_the_clamp(expected.exp(), 1e-5))


@pytest.mark.parametrize("keyshift", some(range(-12, 13), (-12, -7, -1, 0, 4, 7, 12)))
def test_every_semitone_is_one_launch_of_the_formulas_numbers(keyshift, module, audio, options, launches):
    mel = module.MelSpectrogram(BASIS).to(audio.device)
    theirs = mel(audio, keyshift=keyshift)
    mel.hann_window.clear()
    with msp.accelerated(**options):
        got = mel(audio, keyshift=keyshift)
    assert len(launches) == 1
    judge(got, rmvpe64(audio, BASIS, keyshift, 1))
    assert (got.shape, got.dtype, got.stride(), got.device) == (
        theirs.shape,
        theirs.dtype,
        theirs.stride(),
        theirs.device,
    )
    assert list(mel.hann_window) == [f"{keyshift}_{audio.device}"]  # as the original leaves it


@pytest.mark.parametrize(("keyshift", "speed", "center"), [
    (0, 1.2, True), (3, 0.5, True), (-4, 2, False), (0.5, 1.1, True), (0, 1, False),
])  # fmt: skip
def test_speeds_and_fractions(keyshift, speed, center, module, audio, options, launches):
    mel = module.MelSpectrogram(BASIS).to(audio.device)
    with msp.accelerated(**options):
        got = mel(audio, keyshift, speed=speed, center=center)
    assert len(launches) == 1
    judge(got, rmvpe64(audio, BASIS, keyshift, speed, center))


def test_half_output_stays_half(module, audio, options, launches):
    mel = module.MelSpectrogram(BASIS, is_half=True).to(audio.device)
    theirs = mel(audio)
    with msp.accelerated(**options):
        got = mel(audio)
    assert got.dtype is theirs.dtype is torch.float16 and got.stride() == theirs.stride() and len(launches) == 1
    apart = got.cpu().double() - rmvpe64(audio, BASIS, 0, 1)
    assert float(apart.abs().mean()) < 4e-3  # half a unit in the last place


def test_a_class_of_any_name_before_and_after_enable(module, audio, options, launches):
    def loaded(name):
        spec = importlib.util.spec_from_file_location(name, SOURCE)
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made.MelSpectrogram(BASIS).to(audio.device)

    before = module.MelSpectrogram(BASIS).to(audio.device)
    msp.enable(**options)
    after = loaded("a.name.of.its.own")  # in no sys.modules: found by its first call of torch.stft
    assert "rmvpe_of_somebody.MelSpectrogram.forward" in msp.status().projects["rmvpe"]
    after(audio)
    for mel in (before, after):
        launches.clear()
        mel(audio)
        assert len(launches) == 1
        assert hasattr(type(mel).forward, "__wrapped__")
    msp.disable()
    assert not hasattr(type(before).forward, "__wrapped__") and not hasattr(type(after).forward, "__wrapped__")


def test_disable_restores_by_identity(module, options):
    original = module.MelSpectrogram.forward
    msp.enable(**options)
    assert module.MelSpectrogram.forward is not original
    msp.disable()
    assert module.MelSpectrogram.forward is original


ROUND = "int(np.round(self.n_fft * factor))"
RELATIVES = {
    "a size that is cut off": (ROUND, "int(self.n_fft * factor) + int(np.trunc(factor))"),
    "a convolution instead": (re.search(r"torch\.stft\(.*?\n        \)", SOURCE.read_text(), re.S)[0],
                              "self.stft.transform(audio)"),
    "padding of its own": ("        spectrum", '        audio = F.pad(audio, (4, 4), "reflect")\n        spectrum'),
    "something under the root": ("spectrum.imag.pow(2))", "spectrum.imag.pow(2) + 1e-9)"),
    "another power": ("spectrum.real.pow(2)", "spectrum.real.pow(4)"),
    "a trip to the CPU": ("        spectrum", "        audio = audio.cpu()\n        spectrum"),
    "normalised": ("center=center,", "center=center, normalized=True,"),
    "another argument": ("speed=1, center=True", "speed=1, hop=None, center=True"),
    "decibels": ("torch.log(", "torch.log10("),
}  # fmt: skip


@pytest.mark.parametrize("name", RELATIVES)
def test_relatives_with_other_formulas_are_left_alone(name, options, monkeypatch, stand_in):
    before, after = RELATIVES[name]
    text = SOURCE.read_text()
    assert text.count(before) == 1
    relative = types.ModuleType("rmvpe_relative")
    monkeypatch.setitem(sys.modules, "rmvpe_relative", relative)
    exec(text.replace(before, after), vars(relative))
    msp.enable(**options)
    assert not hasattr(relative.MelSpectrogram.forward, "__wrapped__")
    assert "rmvpe_relative" not in msp.status().projects["rmvpe"]


@pytest.mark.parametrize("forward", [len, property(len), None, functools.partial(len)])
def test_whatever_has_the_name_is_looked_at_without_a_word(forward, stand_in, options, monkeypatch, caplog):
    somebodys = types.ModuleType("rmvpe_somebodys")
    cls = somebodys.MelSpectrogram = type("MelSpectrogram", (torch.nn.Module,), {"forward": forward})
    monkeypatch.setitem(sys.modules, "rmvpe_somebodys", somebodys)
    msp.enable(**options)
    assert vars(cls)["forward"] is forward and not caplog.records


def test_calls_that_are_none_of_ours_are_the_originals(module, audio, options, launches):
    mel = module.MelSpectrogram(BASIS).to(audio.device)
    expected = mel(audio[0])
    launches.clear()
    with msp.accelerated(**options):
        assert mel(audio[0]).shape == expected.shape  # one waveform: the original, whose torch.stft is ours
        assert len(launches) == 1
        with pytest.raises(TypeError, match="forward"):
            mel()
        with pytest.raises(RuntimeError):  # shorter than the padding
            mel(audio[:, :100])
        with pytest.raises(RuntimeError):
            mel(audio, speed=0)
        with pytest.raises((RuntimeError, TypeError)):
            mel(audio.to(torch.complex64))
    other = "cuda" if audio.device.type == "cpu" else "simulator"
    launches.clear()
    with msp.accelerated(**{**options, "devices": (other,)}):
        mel(audio)
    with msp.accelerated(**options, compat=False):
        assert not hasattr(type(mel).forward, "__wrapped__")
    assert not launches


def test_silence_is_the_clamp(module, audio, options):
    mel = module.MelSpectrogram(BASIS, clamp=1e-3).to(audio.device)
    with msp.accelerated(**options):
        got = mel(audio * 0)
    torch.testing.assert_close(got, torch.full_like(got, 1e-3).log())


def test_under_autocast_the_product_is_what_it_was(module, audio, options):
    mel = module.MelSpectrogram(BASIS).to(audio.device)
    with torch.autocast(audio.device.type, torch.bfloat16):
        expected = mel(audio)
        with msp.accelerated(**options):
            got = mel(audio)
    assert got.dtype is expected.dtype
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0.1)


def test_state_pickle_copy_and_gradients(module, audio, options):
    mel = module.MelSpectrogram(BASIS).to(audio.device)
    expected = mel(audio)
    audio.requires_grad_()
    gradient = torch.autograd.grad(mel(audio).square().sum(), audio)[0]
    with msp.accelerated(**options):
        for twin in (copy.deepcopy(mel), pickle.loads(pickle.dumps(mel))):
            torch.testing.assert_close(twin(audio), expected, rtol=1e-3, atol=1e-3)
        module.MelSpectrogram(torch.zeros_like(BASIS)).load_state_dict(mel.state_dict(), strict=True)
        assert list(mel.state_dict()) == ["mel_basis"]
        got = torch.autograd.grad(mel(audio).square().sum(), audio)[0]
    assert float((got - gradient).norm() / gradient.norm()) < 1e-3


def test_compiled(module, audio, options):
    mel = module.MelSpectrogram(BASIS).to(audio.device)
    expected = mel(audio)
    msp.enable(**options)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(mel, backend="eager")(audio), expected, rtol=1e-3, atol=1e-3)
