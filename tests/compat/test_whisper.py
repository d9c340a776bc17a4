"""Whisper's log_mel_spectrogram, on a stand-in of the function that other projects have a copy of."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
import torch

import mps_spectro_patch as msp
from tests.front_ends.reference import relative, spectrum64

from .conftest import HERE, bank

NAME = "vocoders_of_somebody.whisper"
BASIS = bank(400, 0, 8000, 80, 16000, "slaney", "slaney").double()


@pytest.fixture
def module(stand_in):
    return stand_in(NAME)


@pytest.fixture
def audio(torch_device):
    return torch.randn(4000, device=torch_device) / 4


def formula64(audio, padding=0):
    padded = torch.nn.functional.pad(audio.cpu().double(), (0, padding))
    rows = padded if padded.dim() == 2 else padded[None]
    power = spectrum64(rows, torch.hann_window(400, dtype=torch.float64), 400, 160)[..., :-1].abs() ** 2
    log = (BASIS @ power).clamp(min=1e-10).log() / math.log(10)
    values = (torch.maximum(log, log.max() - 8) + 4) / 4
    return values if padded.dim() == 2 else values[0]


def judge(got, expected):
    assert got.shape == expected.shape and float((got.detach().cpu().double() - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("shape", [(4000,), pytest.param((2, 3000), marks=pytest.mark.thorough)])
def test_two_launches_with_the_formulas_numbers_and_gradient(shape, module, audio, options, launches):
    audio = torch.randn(shape, device=audio.device) / 4
    audio[..., :2000] /= 1e5  # some of it is below the floor
    theirs = module.log_mel_spectrogram(audio)
    launches.clear()
    with msp.accelerated(**options):
        got = module.log_mel_spectrogram(audio)
        assert len(launches) == 2
        judge(got, formula64(audio))
        assert (got.dtype, got.device, got.stride()) == (theirs.dtype, theirs.device, theirs.stride())
        audio.requires_grad_()
        mine = torch.autograd.grad(module.log_mel_spectrogram(audio).square().sum(), audio)[0]
    expected = torch.autograd.grad(formula64(audio).square().sum(), audio)[0]
    assert relative(mine, expected.cpu().double()) < 1e-4


@pytest.mark.thorough
def test_files_and_arrays_are_loaded_by_the_original(module, audio, options, launches, tmp_path, monkeypatch):
    path, asked = str(tmp_path / "audio.npy"), []
    np.save(path, audio.cpu().numpy())
    monkeypatch.setattr(module, "load_audio", lambda file, load=module.load_audio: asked.append(file) or load(file))
    with msp.accelerated(**options):
        for given in (path, audio.cpu().numpy(), audio.cpu()):
            launches.clear()
            judge(module.log_mel_spectrogram(given, 80, padding=800, device=audio.device), formula64(audio, 800))
            assert len(launches) == 2
        assert asked == [path]
        for wrong in ([1.0], 5, None):
            with pytest.raises(TypeError):
                module.log_mel_spectrogram(wrong)
        with pytest.raises(TypeError, match="log_mel_spectrogram"):
            module.log_mel_spectrogram()
        with pytest.raises(FileNotFoundError):
            module.log_mel_spectrogram(path + "x")


@pytest.mark.thorough
def test_calls_that_are_none_of_ours_are_the_originals(module, audio, options, launches):
    others = [audio.half().float().unsqueeze(0).unsqueeze(0), audio[:100], audio * 0]
    others += [] if audio.is_mps else [audio.double()]
    expected = [outcome(module, one) for one in others]
    original = module.log_mel_spectrogram
    with msp.accelerated(**options):
        assert module.log_mel_spectrogram is not original
        for one, (result, error) in zip(others, expected, strict=True):
            got, raised = outcome(module, one)
            assert type(raised) is type(error)
            if error is None:
                assert got.dtype is result.dtype
                torch.testing.assert_close(got, result, rtol=1e-4, atol=1e-4)
    assert module.log_mel_spectrogram is original
    launches.clear()
    with msp.accelerated(**{**options, "devices": ("cuda" if audio.device.type == "cpu" else "simulator",)}):
        module.log_mel_spectrogram(audio)
    assert not launches


def outcome(module, audio):
    try:
        return module.log_mel_spectrogram(audio), None
    except Exception as error:
        return None, error


TEXT = (HERE / "stand_in" / "vocoders_of_somebody" / "whisper.py").read_text()
RELATIVES = {
    "a floor of each waveform": ("log_spec.max()", "log_spec.amax((-2, -1), keepdim=True)", "it has no max"),
    "another floor": ("- 8.0", "- 2.5", ""),
    "another least value": ("1e-10", "1e-3", ""),
    "another scale": ("(log_spec + 4.0) / 4.0", "(log_spec + 3.0) / 5.0", ""),
    "all frames": ("stft[..., :-1]", "stft", ""),
    "magnitudes": (".abs() ** 2", ".abs()", ""),
    "another power": (".abs() ** 2", ".abs() ** 1.5", ""),
    "natural logarithms": (".log10()", ".log()", "it has no log10"),
    "no floor": ("    log_spec = torch.maximum(log_spec, log_spec.max() - 8.0)\n", "", "it has no max"),
    "the floor of other values": ("log_spec.max() - 8.0", "mel_spec.max() - 8.0", ""),
    "padding on the left": ("(0, padding)", "(padding, 0)", ""),
    "normalised": ("return_complex=True", "return_complex=True, normalized=True", ""),
    "not centred": ("return_complex=True", "return_complex=True, center=False", ""),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", RELATIVES)
def test_a_relative_gives_its_own_result(name, module, audio, options, monkeypatch):
    before, after, said = RELATIVES[name]
    assert before in TEXT
    relative = types.ModuleType(f"whisper_with_{name.replace(' ', '_')}")
    monkeypatch.setitem(sys.modules, relative.__name__, relative)
    exec(TEXT.replace(before, after).replace("from .", "from vocoders_of_somebody."), vars(relative))
    for given in (audio, torch.stack([audio, audio / 100])):
        expected = relative.log_mel_spectrogram(given, padding=500)
        with msp.accelerated(**options):
            state = msp.status().projects["whisper"]
            where = f"{relative.__name__}.log_mel_spectrogram"
            assert (f"{where}: unknown version: {said}" if said else where) in state
            torch.testing.assert_close(
                relative.log_mel_spectrogram(given, padding=500), expected, rtol=1e-4, atol=1e-4
            )  # fmt: skip
