"""torchfcpe's front ends, on stand-ins of both its classes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import mps_spectro_patch as msp
from tests.front_ends.reference import LOG_MAX_ABS, assert_absolute, away_from_the_clamp, fcpe64
from tests.tiers import some

from .conftest import bank

NAME = "torchfcpe.mel_extractor"
BASIS = bank(1024, 0, 8000, 128, 16000, "slaney", "slaney")
CLASSES = ("MelModule", "MelExtractor")


@pytest.fixture
def module(stand_in):
    return stand_in(NAME)


@pytest.fixture
def audio(torch_device):
    return torch.rand(2, 6000, 1, device=torch_device) * 1.8 - 0.9


def made(module, name, device, **options):
    """A front end whose filterbank is there already."""
    mel = getattr(module, name)(BASIS, **options)
    if name == "MelModule":
        return mel.to(device)
    mel.mel_basis[f"8000_{device}"] = BASIS.to(device)
    return mel


def judge(got, audio, key_shift=0, speed=1):
    expected = fcpe64(audio.squeeze(-1), BASIS, key_shift, speed)
    where = away_from_the_clamp(expected.exp(), 1e-5)
    assert_absolute(got.transpose(-1, -2), expected, LOG_MAX_ABS, where)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("key_shift", some(range(-12, 13), (-12, -7, -1, 0, 4, 7, 12)))
def test_every_semitone_is_one_launch_of_the_formulas_numbers(key_shift, name, module, audio, options, launches):
    mel = made(module, name, audio.device)
    with msp.accelerated(**options):
        got = mel(audio, key_shift)
    assert len(launches) == 1 and got.dtype is torch.float32 and got.device == audio.device and got.is_contiguous()
    judge(got, audio, key_shift)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(("key_shift", "speed"), [(0, 1.2), (3, 0.5), (-4, 2)])
def test_speeds(key_shift, speed, name, module, audio, options, launches):
    mel = made(module, name, audio.device)
    expected = mel(audio, key_shift, speed, True)
    launches.clear()
    with msp.accelerated(**options):
        got = mel(audio, key_shift=key_shift, speed=speed, no_cache_window=name == "MelModule")
        judge(got, audio, key_shift, speed)
        assert len(launches) == 1
        torch.testing.assert_close(mel(audio, key_shift, speed, True), expected, rtol=1e-3, atol=1e-3)  # centred, too
        assert len(launches) == 2


@pytest.mark.parametrize("name", CLASSES)
def test_what_stands_under_the_root_is_heard_in_quiet_audio(name, module, audio, options):
    with msp.accelerated(**options):
        judge(made(module, name, audio.device)(audio / 1e4), audio / 1e4)


def test_short_audio_is_padded_with_zeros(module, audio, options, launches):
    mel = made(module, "MelModule", audio.device)
    with msp.accelerated(**options):
        for samples in (300, 432, 433, 700):
            judge(mel(audio[:, :samples]), audio[:, :samples])
    assert len(launches) == 4


def test_the_first_call_of_an_extractor_makes_its_filterbank(module, audio, options, launches):
    mel = module.MelExtractor(BASIS)
    with msp.accelerated(**options):
        judge(mel(audio), audio)
        assert list(mel.mel_basis) == [f"8000_{audio.device}"]
        launches.clear()
        judge(mel(audio), audio)
    assert len(launches) == 1


@pytest.mark.parametrize("name", CLASSES)
def test_loud_audio_is_told_in_the_originals_words(name, module, audio, options, capsys):
    mel = made(module, name, audio.device)
    with msp.accelerated(**options):
        mel(audio)
        assert capsys.readouterr().out == ""
        mel(audio * 2)
        told = capsys.readouterr().out
        judge(mel(audio * 2), audio * 2)
    assert "too low: tensor(-1." in told and "too high: tensor(1." in told


def test_one_question_to_the_device_instead_of_two(module, audio, options, monkeypatch):
    asked = []

    def noting(name):
        original = getattr(torch.Tensor, name)

        def noted(self, *arguments):
            if self.dtype is not torch.uint8:  # which is how the simulator packs arguments
                asked.append(name)
            return original(self, *arguments)

        return noted

    for name in ("item", "__bool__", "tolist", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, noting(name))
    mel = made(module, "MelModule", audio.device)
    mel(audio)
    assert asked == ["__bool__", "__bool__"]
    with msp.accelerated(**options):
        mel(audio)
        asked.clear()
        mel(audio)
    assert asked == ["tolist"]


def test_calls_that_are_none_of_ours_are_the_originals(module, audio, options, launches):
    mel, spectral = made(module, "MelModule", audio.device), made(module, "MelModule", audio.device, out_stft=True)
    expected = spectral(audio), mel(audio.squeeze(-1)), mel(audio.squeeze(-1), speed=7)
    launches.clear()
    with msp.accelerated(**options):
        assert spectral(audio).shape == expected[0].shape == (2, 37, 512)
        assert mel(audio.squeeze(-1)).shape == expected[1].shape
        assert len(launches) == 2  # torch.stft in both
        torch.testing.assert_close(mel(audio.squeeze(-1), speed=7), expected[2], rtol=1e-3, atol=1e-3)
        with pytest.raises(TypeError, match="__call__"):
            mel()
        with pytest.raises((RuntimeError, IndexError)):
            mel(audio[:, :0])
        with pytest.raises(KeyError):  # torch's ModuleDict takes no dots, in the original either
            mel(audio, 0.5)
    other = "cuda" if audio.device.type == "cpu" else "simulator"
    launches.clear()
    with msp.accelerated(**{**options, "devices": (other,)}):
        mel(audio)
    assert not launches


@pytest.mark.parametrize("name", CLASSES)
def test_silence_is_the_clamp(name, module, audio, options):
    mel = made(module, name, audio.device, clip_val=1e-3)
    with msp.accelerated(**options):
        got = mel(audio * 0)
    torch.testing.assert_close(got, torch.full_like(got, 1e-3).log())


def test_under_autocast_the_product_is_what_it_was(module, audio, options):
    mel = made(module, "MelModule", audio.device)
    with torch.autocast(audio.device.type, torch.bfloat16):
        expected = mel(audio)
        with msp.accelerated(**options):
            got = mel(audio)
    assert got.dtype is expected.dtype
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0.1)


def test_windows_are_where_the_original_leaves_them(module, audio, options):
    theirs, ours = made(module, "MelModule", audio.device), made(module, "MelModule", audio.device)
    theirs(audio, 3)
    with msp.accelerated(**options):
        ours(audio, 3)
    assert list(ours.hann_window) == list(theirs.hann_window) == ["3"]
    assert torch.equal(ours.hann_window["3"](), theirs.hann_window["3"]()) and not ours.state_dict()
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        with msp.accelerated(**options):
            judge(twin(audio, 3), audio, 3)


def test_disable_restores_by_identity(module, options):
    before = [vars(getattr(module, name))["__call__"] for name in CLASSES]
    msp.enable(**options)
    assert all(hasattr(getattr(module, name).__call__, "__wrapped__") for name in CLASSES)
    assert msp.status().projects["torchfcpe"].startswith("applied")
    msp.disable()
    assert all(vars(getattr(module, name))["__call__"] is one for name, one in zip(CLASSES, before, strict=True))


def test_versions_before_mel_module_are_known(module, options, audio, launches):
    del module.MelModule
    module.mel_extractor = None  # the instance that they share
    msp.enable(**options)
    state = msp.status().projects["torchfcpe"]
    assert state.startswith("applied") and "MelModule" not in state
    made(module, "MelExtractor", audio.device)(audio)
    assert len(launches) == 1


@pytest.mark.parametrize(("change", "said"), [
    (lambda module: delattr(module, "MelModule"), "it has no MelModule.__call__"),
    (lambda module: setattr(module.MelModule, "__call__", lambda self, y: y), "MelModule.__call__ has no clip_val"),
    (lambda module: delattr(module.MelModule, "__call__"), "it has no MelModule.__call__"),
])  # fmt: skip
def test_a_version_that_is_not_known_is_told_and_left_alone(change, said, module, options, audio):
    change(module)
    msp.enable(**options)
    state = msp.status().projects["torchfcpe"]
    assert f"not patched there: {NAME}.MelModule.__call__: unknown version: {said}" in state
    assert f"applied: {NAME}.MelExtractor.__call__" in state


def test_compiled(module, audio, options):
    mel = made(module, "MelModule", audio.device)
    expected = mel(audio)
    msp.enable(**options)
    torch._dynamo.reset()
    got = torch.compile(lambda y: mel(y), backend="eager")(audio)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
