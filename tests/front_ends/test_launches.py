"""How many launches a call takes, what is never allocated, and which tensors are fused at all."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache, quarantine

OPTIONS = dict(sample_rate=16000, n_fft=400, hop_length=160, n_mels=40)


@pytest.fixture
def x(torch_device):
    return torch.randn(2, 8000, device=torch_device)


@pytest.mark.parametrize("options", [
    dict(output_scale="linear"), dict(output_scale="log"), dict(output_scale="log", log_mode="log1p", power=1.0),
    dict(output_scale="db", top_db=None), dict(output_scale="linear", normalized=True, power=1.3),
    dict(output_scale="db", top_db=None, pad=31), dict(output_scale="db", top_db=None, pad=31, center=False),
])  # fmt: skip
def test_linear_log_and_db_are_one_launch(options, x, fused, launches):
    msp.mel_spectrogram(x, **OPTIONS, **options)
    assert len(launches) == 1


@pytest.mark.parametrize("scope", ["batch", "item"])
def test_top_db_is_a_second_launch(scope, x, fused, launches):
    msp.mel_spectrogram(x, top_db=80.0, top_db_scope=scope, **OPTIONS)
    assert len(launches) == 2


def test_dynamic_sizes_are_one_launch(x, fused, launches):
    for keyshift in (0, 3, -4, 0.5):
        msp.dynamic_mel_spectrogram(x, keyshift=keyshift, output_scale="log", **OPTIONS)
        msp.dynamic_spectrogram(x, n_fft=400, hop_length=160, keyshift=keyshift, target_n_freqs=201)
    assert len(launches) == 8


def test_modules(x, fused, launches):
    fbanks = msp.melscale_fbanks(n_freqs=201, f_min=0, f_max=8000, n_mels=40, sample_rate=16000)
    narrow = dict(filterbank=fbanks, hop_length=160)
    for count, module in (
        (1, msp.LogMelSpectrogramTransform(**OPTIONS)), (2, msp.WhisperLogMelTransform(40)),
        (1, msp.FilterbankSpectrogramTransform(**narrow)), (1, msp.KaldiFbankTransform()),
        (2, msp.FilterbankSpectrogramTransform(output_scale="log", normalize="per_feature", **narrow)),
        (2, msp.MFCCTransform(melkwargs=dict(n_mels=40))),
        # Not banded: one launch for the spectrogram, the product is torch's.
        (1, msp.FilterbankSpectrogramTransform(filterbank=torch.rand(40, 201), hop_length=160)),
    ):  # fmt: skip
        launches.clear()
        module.to(x.device)(x)
        assert len(launches) == count, module


def _allocated(monkeypatch) -> list[torch.Tensor]:
    """What torch.empty and torch.empty_strided make from now on."""
    made: list[torch.Tensor] = []

    def listed(allocate):
        return lambda *args, **options: made.append(allocate(*args, **options)) or made[-1]

    monkeypatch.setattr(torch, "empty", listed(torch.empty))
    monkeypatch.setattr(torch, "empty_strided", listed(torch.empty_strided))
    return made


def test_a_gradient_is_one_launch_more_and_two_where_the_size_is_rough(x, fused, launches, monkeypatch):
    made = _allocated(monkeypatch)
    x.requires_grad_()
    for n_fft, count in ((400, 2), (813, 3)):
        launches.clear(), made.clear()
        value = msp.mel_spectrogram(x, output_scale="log", **{**OPTIONS, "n_fft": n_fft})
        value.sum().backward()
        assert len(launches) == count
        if n_fft == 400:  # nothing as large as a spectrum is ever allocated
            assert [tensor.numel() for tensor in made] == [value.numel(), x.numel()]


def test_the_spectrum_is_never_allocated(x, fused, launches, monkeypatch):
    """(Peak memory on a GPU: python -m mps_spectro_patch bench.)"""
    made = _allocated(monkeypatch)
    got = msp.mel_spectrogram(x, output_scale="log", **OPTIONS)
    assert [tensor.numel() for tensor in made] == [got.numel()]
    made.clear()
    got = msp.mel_spectrogram(x, top_db=80.0, **OPTIONS)
    assert sum(tensor.numel() for tensor in made) < 1.2 * got.numel()


def test_outside_of_enable_only_apple_gpus_are_fused(x, launches, device_name):
    msp.mel_spectrogram(x, **OPTIONS)
    assert bool(launches) == (device_name == "mps")
    launches.clear()
    with msp.accelerated(devices=(device_name,), verify="off"):
        msp.mel_spectrogram(x, use_mps_kernels=False, **OPTIONS)
        msp.dynamic_mel_spectrogram(x.cpu().double(), **OPTIONS)
        assert not launches
        msp.mel_spectrogram(x, **OPTIONS)
        assert launches


def test_public_stft_goes_through_whatever_torch_stft_is(x, monkeypatch, device_name):
    calls = []
    original = torch.stft
    monkeypatch.setattr(torch, "stft", lambda *a, **k: calls.append(1) or original(*a, **k))
    options = dict(n_fft=400, hop_length=160, keyshift=2, pad_mode="reflect")
    through = msp.dynamic_spectrogram(x, use_public_stft=True, **options)
    assert len(calls) == 1
    torch.testing.assert_close(through, msp.dynamic_spectrogram(x, **options), rtol=1e-4, atol=1e-4)
    mel = dict(sample_rate=16000, n_mels=20, output_scale="log", target_basis=None, **options)
    mel.pop("target_basis")
    through = msp.dynamic_mel_spectrogram(x, use_public_stft=True, **mel)
    torch.testing.assert_close(through, msp.dynamic_mel_spectrogram(x, **mel), rtol=1e-4, atol=1e-4)
    assert len(calls) == 2
    wide = msp.dynamic_mel_spectrogram(x.cpu().double(), use_public_stft=True, mel_basis=torch.rand(7, 201), **mel)
    assert wide.dtype is torch.float64 and len(calls) == 3


def test_the_first_call_is_compared_and_a_wrong_kernel_is_not_used_again(x, device_name, launches, monkeypatch):
    with msp.accelerated(devices=(device_name,)):
        good = msp.mel_spectrogram(x, **OPTIONS)
        from mps_spectro_patch.ops import features

        ready = features.ready_features
        monkeypatch.setattr(features, "ready_features", lambda *a: lambda *tensors: ready(*a)(*tensors) + 1.0)
        call_cache.clear()
        assert not torch.equal(msp.mel_spectrogram(x, **OPTIONS), good)  # its key was found good before
        with pytest.warns(RuntimeWarning, match="differs from torch's composition"):
            got = msp.mel_spectrogram(x, power=1.0, **OPTIONS)
        launches.clear()
        again = msp.mel_spectrogram(x, power=1.0, **OPTIONS)
        assert torch.equal(got, again) and not launches
    quarantine.front_ends.clear()


def test_a_kernel_that_raises_is_survived_unless_on_error_says_raise(x, device_name, monkeypatch):
    from mps_spectro_patch.ops import features

    def broken(*_):
        raise RuntimeError("no compiler")

    expected = msp.mel_spectrogram(x, use_mps_kernels=False, **OPTIONS)
    monkeypatch.setattr(features, "ready_features", broken)
    with msp.accelerated(devices=(device_name,)), pytest.warns(RuntimeWarning, match="no compiler"):
        assert torch.equal(msp.mel_spectrogram(x, **OPTIONS), expected)
    quarantine.front_ends.clear()
    with msp.accelerated(devices=(device_name,), on_error="raise"), pytest.raises(RuntimeError, match="no compiler"):
        msp.mel_spectrogram(x, **OPTIONS)


def test_negative_bits_are_resolved(x, fused, launches):
    negative = torch.complex(torch.zeros_like(x), x).conj().imag  # minus x, and says so in a bit only
    window = torch.complex(torch.zeros(400), torch.hann_window(400)).conj().imag.to(x.device)
    options = {**OPTIONS, "output_scale": "linear"}
    assert negative.is_neg()
    got = msp.mel_spectrogram(negative, window=window, **options)
    torch.testing.assert_close(got, msp.mel_spectrogram(x, **options), rtol=1e-5, atol=1e-5)
    assert len(launches) == 2


def test_apple_gpus_are_fused_without_being_asked(monkeypatch):
    """On tensors that are on an Apple GPU in name only: shapes, strides and which operator, no numbers."""
    from mps_spectro_patch.ops import features

    called = []
    operator = features.features
    monkeypatch.setattr(features, "features", lambda *a: called.append(a[0].device.type) or operator(*a))
    transforms = msp.LogMelSpectrogramTransform(**OPTIONS), msp.WhisperLogMelTransform(40)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        x = torch.randn(2, 8000, device="mps")
        for transform, frames in zip(transforms, (51, 50), strict=True):
            got = transform._apply(mode.from_tensor)(x)
            assert got.device.type == "mps" and got.shape == (2, 40, frames) and got.stride() == (40 * frames, 1, 40)
    assert called == ["mps", "mps"]
