"""Pitch-shifted sizes against the RMVPE and torchfcpe wrappers' formulas, for any shift and speed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

import mps_spectro_patch as msp
from mps_spectro_patch.front_ends.spec import shifted
from mps_spectro_patch.kernels.launch import dispatch

from .reference import (
    LOG_MAX_ABS,
    assert_absolute,
    assert_linear,
    away_from_the_clamp,
    fcpe64,
    mel64,
    power64,
    rmvpe64,
    spectrum64,
)

RMVPE = mel64(513, 30, 8000, 128, 16000, "slaney", "htk").float()
FCPE = mel64(513, 0, 8000, 128, 16000, "slaney", "slaney").float()
# Even, odd, prime and twice a prime; the shared kernels make one compilation of most of them.
KEYSHIFTS = (-12, -7.5, -4, -1, 0, 0.3, 1, 3, 5, 12)


def judged(expected):
    return away_from_the_clamp(expected.exp(), 1e-5)


@pytest.mark.parametrize("keyshift", KEYSHIFTS)
@pytest.mark.parametrize("speed", [0.5, 1.0, 1.2, 2.0])
def test_rmvpe(keyshift, speed, torch_device, fused):
    audio = torch.randn(2, 6000, device=torch_device)
    transform = msp.DynamicMelSpectrogramTransform(
        sample_rate=16000, n_fft=1024, hop_length=160, pad_mode="reflect", output_scale="log", mel_basis=RMVPE
    ).to(torch_device)
    for center in (True, False):
        got = transform(audio, keyshift=keyshift, speed=speed, center=center)
        expected = rmvpe64(audio, RMVPE, keyshift, speed, center)
        # Bands of one bin hold little: judged where the sum is not what float32 leaves of a cancelled bin.
        assert_absolute(got, expected, LOG_MAX_ABS, judged(expected))


@pytest.mark.parametrize("keyshift", KEYSHIFTS)
@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_fcpe(keyshift, speed, torch_device, fused):
    audio = torch.randn(2, 6000, device=torch_device)
    n_fft, hop_length, _ = shifted(1024, 160, 1024, keyshift, speed)
    left, right = (n_fft - hop_length) // 2, (n_fft - hop_length + 1) // 2
    padded = torch.nn.functional.pad(audio.unsqueeze(1), (left, right), mode="reflect").squeeze(1)
    got = msp.dynamic_mel_spectrogram(
        padded, sample_rate=16000, n_fft=1024, hop_length=160, center=False, output_scale="log", mel_basis=FCPE.to(
            torch_device), keyshift=keyshift, speed=speed, magnitude_eps=1e-9,
    )  # fmt: skip
    expected = fcpe64(audio, FCPE, keyshift, speed)
    assert_absolute(got, expected, LOG_MAX_ABS, judged(expected))


@pytest.mark.thorough
@given(some.floats(-12, 12), some.floats(0.5, 2), some.sampled_from([None, 100, 201, 300]), some.booleans())
@settings(max_examples=25)
def test_any_shift_and_speed(device_name, torch_device, keyshift, speed, target, center):
    x = torch.randn(1, 3000, device=torch_device)
    with msp.accelerated(devices=(device_name,), on_error="raise", verify="off"):
        got = msp.dynamic_spectrogram(
            x, n_fft=1024, hop_length=160, keyshift=keyshift, speed=speed, target_n_freqs=target, center=center,
            pad_mode="reflect", magnitude_eps=1e-6,
        )  # fmt: skip
    n_fft, hop_length = round(1024 * 2 ** (keyshift / 12)), round(160 * speed)
    window = torch.hann_window(n_fft, dtype=torch.float64)
    expected = power64(spectrum64(x, window, n_fft, hop_length, center), 1.0, 1e-6)
    if target is not None:
        expected = torch.nn.functional.pad(expected, (0, 0, 0, max(0, target - expected.shape[1])))[:, :target]
        expected = expected * (1024 / n_fft)
    assert_linear(got, expected)


def test_window_length_and_power_and_norms(torch_device, fused):
    x = torch.randn(2, 4000, device=torch_device)
    got = msp.dynamic_spectrogram(
        x,
        n_fft=400,
        win_length=300,
        hop_length=100,
        keyshift=2,
        power=2.0,
        normalized=True,
        magnitude_eps=1e-2,
        target_n_freqs=201,
        window_fn=torch.hamming_window,
    )
    n_fft, win_length = round(400 * 2 ** (2 / 12)), round(300 * 2 ** (2 / 12))
    window = torch.hamming_window(win_length, dtype=torch.float64)
    expected = (power64(spectrum64(x, window, n_fft, 100, True, "constant"), 2.0) + 1e-2) / n_fft * (300 / win_length)
    assert_linear(got, expected[:, :201])


def test_a_new_keyshift_compiles_at_most_once_per_size_and_mostly_not_at_all(torch_device, fused, monkeypatch):
    compiled = []
    compile_shader = dispatch.compile_shader

    def counting(*arguments):
        compiled.append(1)
        return compile_shader(*arguments)

    monkeypatch.setattr(dispatch, "compile_shader", counting)
    dispatch.kernel.cache_clear()
    x = torch.randn(1, 4000, device=torch_device)
    options = dict(sample_rate=16000, n_fft=1024, hop_length=160, mel_basis=RMVPE.to(torch_device))
    sizes = set()
    for step in range(-60, 61, 5):
        before = len(compiled)
        msp.dynamic_mel_spectrogram(x, keyshift=step / 10, **options)
        assert len(compiled) <= before + 1
        sizes.add(round(1024 * 2 ** (step / 120)))
    assert len(compiled) < len(sizes) / 2  # odd and rough sizes share their kernels
    before = len(compiled)
    for step in range(-60, 61, 5):
        msp.dynamic_mel_spectrogram(x, keyshift=step / 10, speed=1.1, **options)
    assert len(compiled) == before


@pytest.mark.parametrize("basis", [torch.rand(80, 512), torch.rand(513), torch.rand(513, 80), torch.rand(0, 513)])
def test_a_basis_of_the_wrong_shape_is_refused(basis):
    for make in (
        lambda: msp.DynamicMelSpectrogramTransform(sample_rate=16000, n_fft=1024, hop_length=160, mel_basis=basis),
        lambda: msp.dynamic_mel_spectrogram(
            torch.randn(1, 4000), sample_rate=16000, n_fft=1024, hop_length=160, mel_basis=basis
        ),
        lambda: msp.FilterbankSpectrogramTransform(filterbank=basis, n_fft=1024, hop_length=160),
    ):
        with pytest.raises(ValueError, match=r"filterbank must be \["):
            make()
    if basis.shape == (513, 80):
        with pytest.raises(ValueError, match="torchaudio's is the transpose"):
            msp.FilterbankSpectrogramTransform(filterbank=basis, n_fft=1024, hop_length=160)


@pytest.mark.parametrize("options", [dict(speed=0.0), dict(speed=float("inf")), dict(keyshift=float("nan"))])
def test_shifts_that_are_no_numbers_are_refused(options):
    with pytest.raises(ValueError, match="keyshift="):
        msp.dynamic_spectrogram(torch.randn(1, 4000), n_fft=400, hop_length=160, **options)
