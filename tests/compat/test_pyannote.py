"""The features of pyannote.audio's speaker embeddings, on a stand-in of the class that makes them."""

from __future__ import annotations

import importlib

import pytest
import torch

import mps_spectro_patch as msp

from . import stand_in as projects
from .kaldi_arguments import errors

MODULE = "pyannote.audio.models.embedding.wespeaker"
OPTIONS = dict(num_mel_bins=80, window_type="hamming", use_energy=False, dither=0.0, sample_frequency=16000)
FAKE = dict(devices=("mps", "simulator"), on_error="raise", on_fallback="raise")


@pytest.fixture
def module(stand_in, project_folder):
    projects.write_pyannote(project_folder)
    return importlib.import_module(MODULE)


@pytest.fixture
def waveforms(torch_device):
    return torch.randn(3, 1, 6000, device=torch_device) / 4 + 0.1


def away(transfers) -> dict:
    """What left the device, or came to it, and is not a table of the filterbank's size."""
    return {one: count for one, count in transfers.items() if torch.Size(one.shape).numel() > 80 * 257}


@pytest.mark.thorough
@pytest.mark.parametrize("channels", [1, 2])
def test_a_batch_stays_on_the_device(channels, module, fake_mps):
    with fake_mps:
        model, x = module.BaseWeSpeakerResNet(**OPTIONS), torch.ones(3, channels, 32000, device="mps")
        with msp.accelerated(**FAKE, compat=("kaldi",)):
            fake_mps.take()
            theirs = model.compute_fbank(x)
            assert sorted(one.way for one in away(fake_mps.take())) == ["cpu to mps", "mps to cpu"]
        with msp.accelerated(**FAKE, compat=("pyannote",)):
            got = model.compute_fbank(x)
            assert not away(fake_mps.take())
    assert (got.shape, got.dtype, got.device) == (theirs.shape, theirs.dtype, theirs.device)


def test_a_batch_is_one_launch_of_the_same_numbers(module, waveforms, options, launches):
    model = module.BaseWeSpeakerResNet(**OPTIONS)
    theirs = model.compute_fbank(waveforms)
    with msp.accelerated(**options):
        got = model.compute_fbank(waveforms)
    assert len(launches) == 1
    assert (got.shape, got.dtype, got.stride(), got.device) == (
        theirs.shape, theirs.dtype, theirs.stride(), theirs.device
    )  # fmt: skip
    right = module.BaseWeSpeakerResNet(**OPTIONS).double().compute_fbank(waveforms.cpu().double())
    mine, original = errors((got, theirs), right)
    assert mine <= max(2 * original, 2e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["before", "after"])
def test_it_does_not_matter_when_the_model_was_made(when, module, waveforms, device_name, launches):
    original = vars(module.BaseWeSpeakerResNet)["compute_fbank"]
    early = module.BaseWeSpeakerResNet(**OPTIONS)
    msp.enable(devices=(device_name,), verify="off", on_error="raise")
    model = early if when == "before" else module.BaseWeSpeakerResNet(**OPTIONS)
    got = model.compute_fbank(waveforms)
    assert len(launches) == 1 and "compute_fbank" in msp.status().projects["pyannote"]
    msp.disable()
    assert vars(module.BaseWeSpeakerResNet)["compute_fbank"] is original
    # Of a model that was made while the patch was on, too: it has kept the patched fbank.
    torch.testing.assert_close(model.compute_fbank(waveforms), got, rtol=1e-4, atol=1e-3)
    assert len(launches) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("change", ["gradient", "autocast", "another fbank", "double", "a part replaced"])
def test_what_no_kernel_does_goes_the_projects_way(change, module, waveforms, options, launches, monkeypatch):
    model = module.BaseWeSpeakerResNet(**OPTIONS)
    if change == "gradient":
        waveforms.requires_grad_()
    elif change == "another fbank":
        model._fbank = lambda waveform: waveform.reshape(-1, 60)
    elif change == "double":
        if waveforms.device.type == "mps":
            pytest.skip("MPS has no float64")
        waveforms = waveforms.double()
    elif change == "a part replaced":
        monkeypatch.setattr(module.kaldi, "_subtract_column_mean", lambda tensor, _: tensor * 0)

    def features():
        with torch.autocast(waveforms.device.type, torch.bfloat16, enabled=change == "autocast"):
            return model.compute_fbank(waveforms)

    theirs = features()
    with msp.accelerated(**options):
        got = features()
    assert not launches and got.dtype == theirs.dtype and got.requires_grad == theirs.requires_grad
    torch.testing.assert_close(got, theirs, rtol=0, atol=0)


@pytest.mark.thorough
@pytest.mark.parametrize("shape, change", [
    ((3, 1, 300), {}), ((3, 6000), {}), ((0, 1, 6000), {}), ((3, 1, 6000), dict(dither=1.0)),
    ((3, 1, 6000), dict(num_mel_bins=3)), ((3, 1, 6000), dict(window_type="bartlett")),
])  # fmt: skip
def test_what_it_refuses_is_refused_by_it(shape, change, module, torch_device, options, launches):
    model = module.BaseWeSpeakerResNet(**OPTIONS | change)  # vmap refuses what draws random numbers

    def answer():
        try:
            return model.compute_fbank(torch.ones(shape, device=torch_device)).shape
        except Exception as error:
            return type(error), str(error)

    theirs = answer()
    with msp.accelerated(**options):
        assert answer() == theirs
    assert not launches


@pytest.mark.thorough
@pytest.mark.parametrize("which", ["pyannote", "torchaudio"])
def test_an_unknown_version_is_left_alone_and_named(which, stand_in, project_folder, monkeypatch):
    projects.write_pyannote(project_folder)
    if which == "pyannote":
        file = project_folder.joinpath(*MODULE.split(".")).with_suffix(".py")
        file.write_text(file.read_text().replace("torch.vmap(self._fbank)", "torch.vmap(self._fbank, chunk_size=8)"))
    module = importlib.import_module(MODULE)
    if which == "torchaudio":
        monkeypatch.setattr(module.kaldi, "fbank", lambda waveform, sharpness=1.0: waveform)
    original = vars(module.BaseWeSpeakerResNet)["compute_fbank"]
    msp.enable(devices=("mps",))
    state = msp.status().projects["pyannote"]
    assert vars(module.BaseWeSpeakerResNet)["compute_fbank"] is original
    assert ("torchaudio is not known" if which == "torchaudio" else "is written in another way") in state


@pytest.mark.thorough
def test_an_error_of_ours_costs_one_warning(module, waveforms, device_name, monkeypatch, launches):
    model = module.BaseWeSpeakerResNet(**OPTIONS)
    theirs = model.compute_fbank(waveforms)
    monkeypatch.setattr("mps_spectro_patch.compat.kaldi.kaldi.try_fused", lambda *_: 1 / 0)
    with msp.accelerated(devices=(device_name,), compat=("pyannote",)), pytest.warns(RuntimeWarning) as told:
        got = model.compute_fbank(waveforms)
    assert len(told) == 1 and "ZeroDivisionError" in str(told[0].message)
    torch.testing.assert_close(got, theirs, rtol=0, atol=0)
    with (
        msp.accelerated(devices=(device_name,), compat=("pyannote",), on_error="raise"),
        pytest.raises(ZeroDivisionError),
    ):
        model.compute_fbank(waveforms)


@pytest.mark.thorough
def test_compiled_code_makes_its_own_features(module, waveforms, device_name, launches):
    model = module.BaseWeSpeakerResNet(**OPTIONS)
    theirs = model.compute_fbank(waveforms)
    msp.enable(devices=(device_name,), on_error="raise")
    got = torch.compile(model.compute_fbank, backend="eager")(waveforms)
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-3)
