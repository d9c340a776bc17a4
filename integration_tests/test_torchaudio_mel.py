"""This package's front ends against torchaudio itself, and torchaudio's transforms with torchaudio=True."""

from __future__ import annotations

import io
import os
import warnings

import pytest
import torch

import mps_spectro_patch as msp

torchaudio = pytest.importorskip("torchaudio")

DEVICE_NAME = os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")
DEVICE = {"simulator": "cpu", "cuda": "cuda", "mps": "mps"}[DEVICE_NAME]
T, F = torchaudio.transforms, torchaudio.functional

MEL = {
    "defaults": dict(n_mels=64),
    "slaney, normalised": dict(n_mels=64, norm="slaney", mel_scale="slaney", normalized=True),
    "short window, padded, magnitudes": dict(n_mels=40, n_fft=512, win_length=400, hop_length=160, pad=100, power=1.0),
    "odd size, not centred, other power": dict(n_mels=40, n_fft=813, hop_length=200, center=False, power=1.3),
    "LinkSeg": dict(sample_rate=22050, n_fft=1024, f_min=0, f_max=11025, n_mels=64, hop_length=256, power=2.0),
    "MuQ": dict(sample_rate=24000, n_fft=2048, hop_length=240, n_mels=128),
    "mamba_amt": dict(sample_rate=16000, n_fft=2048, hop_length=512, pad_mode="constant", n_mels=256, f_min=30,
                      f_max=8000, power=1.0, norm="slaney"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filterbank")
        yield


def close(got, expected, relative=2e-5):
    assert got.shape == expected.shape and got.dtype == expected.dtype
    got, expected = got.detach().cpu().double(), expected.detach().cpu().double()
    assert float((got - expected).norm() / expected.norm()) <= relative


def accelerated(**options):
    return msp.accelerated(devices=(DEVICE_NAME,), on_error="raise", **options)


@pytest.mark.parametrize("name", MEL)
def test_mel_spectrograms_are_torchaudios(name):
    signal = torch.randn(2, 20_000, device=DEVICE)
    theirs, ours = T.MelSpectrogram(**MEL[name]).to(DEVICE), msp.CompatMelSpectrogramTransform(**MEL[name]).to(DEVICE)
    expected = theirs(signal)
    close(ours(signal), expected)
    with accelerated():
        got = ours(signal)
    close(got, expected)
    assert got.stride() == expected.stride()
    db = msp.CompatMelSpectrogramTransform(output_scale="db", top_db=40.0, **MEL[name]).to(DEVICE)
    with accelerated():
        got = db(signal)
    expected = T.AmplitudeToDB("magnitude" if MEL[name].get("power") == 1 else "power", 40.0)(expected)
    assert float((got - expected).abs().mean()) <= 1e-4


@pytest.mark.parametrize("options", [
    dict(), dict(n_mfcc=13, melkwargs=dict(n_mels=40, n_fft=512, hop_length=160)), dict(log_mels=True, norm=None),
])  # fmt: skip
def test_mfcc_is_torchaudios(options):
    signal = torch.randn(2, 20_000, device=DEVICE)
    with accelerated():
        got = msp.MFCCTransform(**options).to(DEVICE)(signal)
    close(got, T.MFCC(**options).to(DEVICE)(signal))


@pytest.mark.parametrize("options", [
    dict(), dict(use_power=False, use_log_fbank=False), dict(window_type="hanning", high_freq=-500.0),
])  # fmt: skip
def test_kaldis_filterbank_is_torchaudios(options):
    signal = torch.randn(1, 20_000)
    expected = torchaudio.compliance.kaldi.fbank(signal, dither=0.0, remove_dc_offset=False, num_mel_bins=40, **options)
    with accelerated():
        got = msp.KaldiFbankTransform(num_mel_bins=40, **options).to(DEVICE)(signal[0].to(DEVICE)).t().cpu()
    close(got, expected)


@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
def test_filterbanks_are_torchaudios_and_librosas(norm, mel_scale):
    got = msp.melscale_fbanks(
        n_freqs=513, f_min=30, f_max=8000, n_mels=80, sample_rate=16000, norm=norm, mel_scale=mel_scale
    )
    close(got, F.melscale_fbanks(513, 30.0, 8000.0, 80, 16000, norm, mel_scale).t())
    librosa = pytest.importorskip("librosa")
    theirs = librosa.filters.mel(sr=16000, n_fft=1024, n_mels=80, fmin=30, fmax=8000, htk=mel_scale == "htk", norm=norm)
    close(got, torch.from_numpy(theirs), 1e-6)


def test_amplitude_to_db_is_torchaudios():
    for x in (torch.rand(2, 3, 20, 30), torch.rand(3, 20, 30), torch.rand(20, 30)):
        x = x.to(DEVICE)
        torch.testing.assert_close(msp.amplitude_to_db(x, top_db=10.0), T.AmplitudeToDB(top_db=10.0)(x))


PATCHED = {
    "Spectrogram": lambda: T.Spectrogram(n_fft=400, hop_length=160, pad=7),
    "Spectrogram, normalised": lambda: T.Spectrogram(n_fft=400, power=1.0, normalized="frame_length"),
    "MelSpectrogram": lambda: T.MelSpectrogram(**MEL["mamba_amt"]),
    "MFCC": lambda: T.MFCC(),
    "MFCC of logarithms": lambda: T.MFCC(log_mels=True),
    "LinkSeg": lambda: torch.nn.Sequential(T.MelSpectrogram(**MEL["LinkSeg"]), T.AmplitudeToDB()),
    "dB": lambda: torch.nn.Sequential(T.MelSpectrogram(n_mels=40), T.AmplitudeToDB(top_db=30.0)),
    "LFCC": lambda: T.LFCC(n_lfcc=20),
}


@pytest.mark.parametrize("name", PATCHED)
def test_torchaudios_own_transforms_with_torchaudio_true(name):
    module, signal = PATCHED[name]().to(DEVICE), torch.randn(2, 20_000, device=DEVICE)
    state = module.state_dict()
    expected = module(signal)
    with accelerated(torchaudio=True, on_fallback="raise"):
        got = module(signal)
        scripted = torch.jit.script(module)
        close(scripted(signal), expected, 1e-3)
        saved = io.BytesIO()
        torch.jit.save(scripted, saved)
    close(got, expected, 1e-4)
    assert got.stride() == expected.stride()
    assert list(PATCHED[name]().state_dict()) == list(state)
    PATCHED[name]().to(DEVICE).load_state_dict(state, strict=True)
    saved.seek(0)
    close(torch.jit.load(saved)(signal), expected, 1e-3)
    assert not hasattr(F.spectrogram, "__wrapped__") and not hasattr(T.MelSpectrogram.forward, "__wrapped__")


def test_griffin_lim_and_the_inverse_spectrogram_with_torchaudio_true():
    signal = torch.randn(1, 8000, device=DEVICE)
    power = T.Spectrogram(n_fft=400).to(DEVICE)(signal)
    griffin_lim = T.GriffinLim(n_fft=400, n_iter=4, rand_init=False).to(DEVICE)
    spectrum, inverse = T.Spectrogram(n_fft=400, power=None).to(DEVICE), T.InverseSpectrogram(n_fft=400).to(DEVICE)
    expected = griffin_lim(power)
    with accelerated(torchaudio=True):
        got = griffin_lim(power)
        again = inverse(spectrum(signal), 8000)
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    torch.testing.assert_close(again, signal, rtol=1e-4, atol=1e-4)


def test_gradients_of_torchaudios_transforms_with_torchaudio_true():
    for name in ("Spectrogram", "MelSpectrogram", "MFCC of logarithms"):
        module, signal = PATCHED[name]().to(DEVICE), torch.randn(2, 8000, device=DEVICE, requires_grad=True)
        expected = torch.autograd.grad(module(signal).square().mean(), signal)[0]
        with accelerated(torchaudio=True):
            close(torch.autograd.grad(module(signal).square().mean(), signal)[0], expected, 1e-3)
