"""What needs all features of an item: top_db, Whisper's floor, normalisation over time."""

import math

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import feature_passes, features
from mps_spectro_patch.kernels.plans.geometry import StftGeometry

from ..outputs import poisoned_outputs
from .reference import LOG_MAX_ABS, assert_absolute, away_from_the_clamp, mel64, power64, spectrum64


def whisper64(x, n_mels, dims):
    """openai/whisper's log_mel_spectrogram."""
    window = torch.hann_window(400, dtype=torch.float64)
    magnitudes = spectrum64(x, window, 400, 160)[..., :-1].abs() ** 2
    mel = mel64(201, 0, 8000, n_mels, 16000, "slaney", "slaney") @ magnitudes
    log_spec = mel.clamp(min=1e-10).log10()
    log_spec = torch.maximum(log_spec, log_spec.amax(dims, keepdim=True) - 8.0)
    return (log_spec + 4.0) / 4.0, mel


@pytest.mark.parametrize("per_item", [False, True])
@pytest.mark.parametrize("n_mels", [80, 128])
def test_whispers_log_mel(n_mels, per_item, torch_device, fused):
    x = torch.randn(3, 16000, device=torch_device) * torch.tensor([[1.0], [1e-3], [1e-6]], device=torch_device)
    transform = msp.WhisperLogMelTransform(n_mels, per_item=per_item).to(torch_device)
    with poisoned_outputs():
        got = transform(x)
    expected, mel = whisper64(x, n_mels, (-2, -1) if per_item else None or (0, 1, 2))
    assert got.shape == (3, n_mels, 100)
    assert_absolute(got, expected, LOG_MAX_ABS / 4, away_from_the_clamp(mel, 1e-10))
    floor = expected == expected.amin((0, 1, 2) if not per_item else (1, 2), keepdim=True)
    assert floor.any()
    alone = transform(x[0])
    assert alone.shape == (n_mels, 100)
    assert_absolute(
        alone, whisper64(x[:1], n_mels, (0, 1, 2))[0][0], LOG_MAX_ABS / 4, away_from_the_clamp(mel[0], 1e-10)
    )


def test_whispers_largest_is_of_all_batch_dimensions(torch_device, fused):
    x = torch.randn(2, 2, 4000, device=torch_device)
    x[1] *= 1e-7
    got = msp.WhisperLogMelTransform(40).to(torch_device)(x)
    expected, _ = whisper64(x.reshape(4, 4000), 40, (0, 1, 2))
    quiet = torch.tensor(got[1].cpu().unique().numel() == 1)
    assert quiet and math.isclose(float(got[1].max()), float(expected[2:].max()), abs_tol=1e-5)


@pytest.mark.parametrize("frames", [2, 3, 40, 101])
def test_normalisation_over_time(frames, torch_device, fused):
    x = torch.randn(2, 160 * (frames - 1) + 400, device=torch_device)
    basis = mel64(201, 0, 8000, 21, 16000).float()
    transform = msp.FilterbankSpectrogramTransform(
        filterbank=basis, hop_length=160, output_scale="log", normalize="per_feature", center=False
    ).to(torch_device)
    with poisoned_outputs():
        got = transform(x)
    mel = basis.double() @ power64(spectrum64(x, torch.hann_window(400, dtype=torch.float64), 400, 160, False), 2.0)
    log = mel.clamp(min=1e-5).log()
    expected = (log - log.mean(-1, keepdim=True)) / (log.std(-1, keepdim=True) + 1e-5)
    close = log.std(-1, keepdim=True).expand_as(log) > 0.1  # of two frames that are almost equal, rounding decides
    assert_absolute(got, expected, 1e-3, close)
    assert float((got.cpu() - expected).abs()[close].mean()) <= 2e-5


def test_nan_goes_where_torch_lets_it_go(torch_device, fused):
    x = torch.randn(3, 4000, device=torch_device)
    x[1, 2000] = float("nan")
    options = dict(sample_rate=16000, n_fft=400, hop_length=160, n_mels=20, top_db=30.0)
    for scope in ("batch", "item"):
        got = msp.mel_spectrogram(x, top_db_scope=scope, **options)
        expected = msp.mel_spectrogram(x, top_db_scope=scope, use_mps_kernels=False, **options)
        assert torch.equal(got.isnan(), expected.isnan()) and got.isnan().any()
        assert got[1].isnan().all() and bool(got[0].isnan().all()) == (scope == "batch")


def test_silence_and_one_frame(torch_device, fused):
    silent = msp.mel_spectrogram(
        torch.zeros(2, 400, device=torch_device), sample_rate=16000, n_fft=400, hop_length=160, n_mels=20, center=False
    )
    assert silent.shape == (2, 20, 1) and torch.allclose(silent, torch.full_like(silent, -100.0), atol=1e-4)


def test_large_inputs_have_many_threadgroups(torch_device, fused):
    x = torch.randn(2, 60_000, device=torch_device)
    got = msp.mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=20, n_mels=20, top_db=12.0)
    linear = msp.mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=20, n_mels=20, output_scale="linear")
    assert_absolute(got, msp.amplitude_to_db(linear.cpu().double(), top_db=12.0), 1e-4)


def test_results_do_not_depend_on_the_order_of_threads(fused):
    x = torch.randn(2, 6000)
    transforms = (
        msp.WhisperLogMelTransform(40),
        msp.FilterbankSpectrogramTransform(filterbank=mel64(201, 0, 8000, 21, 16000).float(), hop_length=160,
                                           output_scale="log", normalize="per_feature"),
    )  # fmt: skip
    expected = [transform(x) for transform in transforms]
    for seed in range(3):
        with simulator.test_mode(seed=seed):
            assert all(torch.equal(t(x), e) for t, e in zip(transforms, expected, strict=True))


ROW, PART, BELOW = 1000, 256, 5.0


def limited(values, part, extremes):
    """In place, items of three rows."""
    run = feature_passes.limit(len(values), 3, ROW, extremes.shape[1], part, BELOW, 1.0, 0.0, values.device)
    run(values, extremes.contiguous())
    return values


def extremes_of(values):
    parts = [torch.stack([p.amax(2), p.amin(2)], 2) for p in values.split(PART, 2)]
    return torch.stack(parts, 2).flatten(1, 2)


def test_parts_with_nothing_to_limit_are_left_alone(torch_device):
    values = torch.rand(2, 3, ROW, device=torch_device) * 4 + 10
    values[0, 1, 300:] -= 9.0
    values[1, 2, ROW - 3] = -math.inf  # in the last part, which is shorter
    values[1, 0, 7] = 20.0
    expected = torch.maximum(values, values.amax((1, 2), keepdim=True) - BELOW)
    assert (expected != values).any((1, 2)).all()
    extremes = extremes_of(values)
    assert extremes.shape == (2, 12, 2)
    assert torch.equal(limited(values.clone(), PART, extremes), expected)
    assert torch.equal(limited(values.clone(), None, extremes), expected)

    # A part that is said to have nothing below is not looked at; if the extremes are of other parts, all are.
    extremes[0, 5, 1] = 100.0
    found = limited(values.clone(), PART, extremes)
    part = (0, 1, slice(PART, 2 * PART))
    assert torch.equal(found[part], values[part]) and not torch.equal(expected[part], values[part])
    found[part] = expected[part]
    assert torch.equal(found, expected)
    assert torch.equal(limited(values.clone(), None, extremes), expected)


def test_what_is_nan_makes_its_item_nan_and_no_other(torch_device):
    values = torch.rand(2, 3, ROW, device=torch_device)
    values[1, 1, 400] = math.nan
    extremes = extremes_of(values)  # amax and amin are NaN there; the kernels' least is not
    extremes[..., 1] = extremes[..., 1].nan_to_num(0.0)
    found = limited(values.clone(), PART, extremes)
    assert torch.equal(found[0], values[0]) and found[1].isnan().all()


def test_one_loud_moment_among_silence_and_one_silence_among_noise(torch_device, fused):
    x = torch.zeros(2, 48_000, device=torch_device)
    x[0, 20_000:21_000] = torch.randn(1000, device=torch_device)
    x[1] = torch.randn(48_000, device=torch_device)
    x[1, 30_000:36_000] = 0.0
    for per_item in (True, False):
        transform = msp.WhisperLogMelTransform(80, per_item=per_item).to(torch_device)
        with poisoned_outputs():
            got = transform(x)
        expected, mel = whisper64(x, 80, (-2, -1) if per_item else (0, 1, 2))
        close = (mel == 0) | (mel > 1e-3 * mel.amax())  # of what is hardly there, rounding decides
        assert_absolute(got, expected, LOG_MAX_ABS / 4, close)


@pytest.mark.parametrize("n_fft", [64, 49, 400])
def test_zeros_behind_the_bins_are_raised_to_the_floor(n_fft, torch_device):
    x, window = torch.randn(2, 40 * n_fft, device=torch_device), torch.ones(n_fft, device=torch_device)
    geometry = StftGeometry(2, x.shape[1], n_fft, n_fft // 4, n_fft, n_fft // 2, "reflect", False)
    bins = n_fft // 2 + 1
    for width in (bins - 3, bins, bins + 7):
        wanted = features.Features(width, scale="clamp", amin=1e-10, factor=0.4343, offset=0.3)
        with poisoned_outputs():
            got = features.limited_features(x, window, geometry, wanted, None, 1, 7.0)
        power = power64(spectrum64(x, window.cpu().double(), n_fft, n_fft // 4), 2.0)[:, :width]
        power = torch.nn.functional.pad(power, (0, 0, 0, width - power.shape[1]))
        values = 0.4343 * power.clamp(min=1e-10).log() + 0.3
        expected = torch.maximum(values, values.amax((1, 2), keepdim=True) - 7.0)
        close = (power == 0) | (power > 1e-3 * power.amax())  # of what is hardly there, rounding decides
        assert_absolute(got, expected, 1e-4, close)


def test_decibels_of_nothing_are_nothing(torch_device):
    empty = feature_passes.decibels(torch.zeros(2, 0, device=torch_device), 2, 1e-10, 10.0, 0.0, 80.0)
    assert empty.shape == (2, 0)
