"""torchaudio, unmodified: its transforms call torch.stft and torch.istft, and so arrive by themselves."""

from __future__ import annotations

import os

import pytest
import torch

import mps_spectro_patch as msp

torchaudio = pytest.importorskip("torchaudio")

DEVICE_NAME = os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")
DEVICE = {"simulator": "cpu", "cuda": "cuda", "mps": "mps"}[DEVICE_NAME]
T = torchaudio.transforms

TRANSFORMS = {
    "Spectrogram": lambda: T.Spectrogram(n_fft=400, hop_length=160),
    "complex Spectrogram, normalised": lambda: T.Spectrogram(n_fft=1024, power=None, normalized=True),
    "MelSpectrogram": lambda: T.MelSpectrogram(sample_rate=16_000, n_fft=1024, hop_length=256, n_mels=80),
    "MelSpectrogram with a short window": lambda: T.MelSpectrogram(n_fft=512, win_length=400, hop_length=160),
    "MFCC": lambda: T.MFCC(sample_rate=16_000, n_mfcc=20),
    "not centred, constant padding": lambda: T.Spectrogram(n_fft=256, center=False, pad=40, pad_mode="constant"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_gives_its_own_numbers_and_is_accelerated(name):
    transform, signal = TRANSFORMS[name]().to(DEVICE), torch.randn(2, 16_000, device=DEVICE)
    with torch.no_grad():
        expected = transform(signal)
        msp.reset_stats()
        with msp.accelerated(devices=(DEVICE_NAME,), on_fallback="raise", on_error="raise"):
            got = transform(signal)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert msp.stats()["stft"].fast == 1


def test_the_inverse_spectrogram_gives_the_signal_back():
    signal = torch.randn(2, 16_000, device=DEVICE)
    forward, inverse = T.Spectrogram(n_fft=400, power=None).to(DEVICE), T.InverseSpectrogram(n_fft=400).to(DEVICE)
    msp.reset_stats()
    with torch.no_grad(), msp.accelerated(devices=(DEVICE_NAME,), on_fallback="raise", on_error="raise"):
        again = inverse(forward(signal), 16_000)
    torch.testing.assert_close(again, signal, rtol=1e-4, atol=1e-4)
    assert msp.stats()["stft"].fast == msp.stats()["istft"].fast == 1


def test_griffin_lim_runs_on_both_kernels():
    power = T.Spectrogram(n_fft=400).to(DEVICE)(torch.randn(1, 8_000, device=DEVICE))
    griffin_lim = T.GriffinLim(n_fft=400, n_iter=4, rand_init=False).to(DEVICE)
    with torch.no_grad():
        expected = griffin_lim(power)
        msp.reset_stats()
        with msp.accelerated(devices=(DEVICE_NAME,)):
            got = griffin_lim(power)
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    assert msp.stats()["istft"].fast == 5 and msp.stats()["stft"].fast == 4
