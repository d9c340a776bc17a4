"""The functions: mps-spectro's names, arguments and defaults; the formulas; the same numbers fused and composed."""

import inspect
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import mps_spectro_patch as msp

from .reference import (
    DB_MAX_ABS,
    LOG_MAX_ABS,
    assert_absolute,
    assert_linear,
    away_from_the_clamp,
    db64,
    log64,
    mel64,
    power64,
    spectrum64,
)

NONE = inspect.Parameter.empty
HANN = torch.hann_window
MEL = dict(
    sample_rate=NONE, n_fft=NONE, hop_length=NONE, win_length=None, center=True, pad_mode="constant", power=2.0,
    n_mels=128, f_min=0.0, f_max=None, norm=None, mel_scale="htk", output_scale="db", log_amin=1e-5, log_mode="clamp",
    top_db=80.0, window_fn=HANN, use_mps_kernels=True,
)  # fmt: skip
LOG_MEL = {name: value for name, value in MEL.items() if name not in ("output_scale", "top_db")}
DYNAMIC = dict(keyshift=0.0, speed=1.0, magnitude_eps=0.0, use_public_stft=False, normalized=False)
SEED = {  # keyword arguments and defaults of mps-spectro 0.3.0
    "melscale_fbanks": dict(n_freqs=NONE, f_min=NONE, f_max=NONE, n_mels=NONE, sample_rate=NONE, norm=None,
                            mel_scale="htk", device="cpu", dtype=torch.float32),
    "amplitude_to_db": dict(stype="power", top_db=80.0, amin=1e-10),
    "mel_spectrogram": MEL | dict(window=None, pad=0, normalized=False),
    "dynamic_spectrogram": dict(
        n_fft=NONE, hop_length=NONE, win_length=None, window=None, center=True, pad_mode="constant", power=1.0,
        target_n_freqs=None, window_fn=HANN, use_mps_kernels=True,
    ) | DYNAMIC,
    "dynamic_mel_spectrogram": MEL | DYNAMIC | dict(power=1.0, output_scale="linear", mel_basis=None),
    "MelSpectrogramTransform": MEL,
    "LogMelSpectrogramTransform": LOG_MEL | dict(power=1.0),
    "CompatMelSpectrogramTransform": MEL | dict(
        sample_rate=16000, n_fft=400, hop_length=None, pad=0, normalized=False, pad_mode="reflect",
        output_scale="linear", top_db=None,
    ),
    "DynamicMelSpectrogramTransform": MEL | dict(power=1.0, output_scale="linear", mel_basis=None),
    "stft": dict(n_fft=NONE, hop_length=None, win_length=None, window=None, center=True, normalized=False,
                 onesided=True),
    "istft": dict(
        n_fft=None, hop_length=None, win_length=None, window=None, center=True, normalized=False, onesided=True,
        length=None, torch_like=False, safety="auto", allow_fused=True, long_mode_strategy="custom",
        kernel_dtype="float32", kernel_layout="auto",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEED)
def test_names_arguments_and_defaults_are_those_of_the_seed_package(name):
    parameters = inspect.signature(getattr(msp, name)).parameters
    keywords = {n: p.default for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert {n: keywords[n] for n in SEED[name]} == SEED[name]
    assert all(keywords[n] is not NONE for n in set(keywords) - set(SEED[name]))  # more arguments all have defaults
    assert len([p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]) == (
        0 if name.endswith("Transform") or name == "melscale_fbanks" else 1
    )


PADDINGS = [(True, "constant", 0), (True, "reflect", 77), (False, "reflect", 31)]


def reference(x, power=2.0, pad_mode="constant", center=True, pad=0, normalized=False, n_fft=400, hop=160, **mel):
    window = torch.hann_window(n_fft, dtype=torch.float64)
    spectrum = spectrum64(x, window, n_fft, hop, center, pad_mode, pad)
    if normalized:
        spectrum = spectrum / (n_fft**0.5 if normalized in (True, "frame_length") else window.square().sum().sqrt())
    basis = mel64(
        n_fft // 2 + 1,
        mel.get("f_min", 0),
        mel.get("f_max", 8000),
        mel["n_mels"],
        16000,
        mel.get("norm"),
        mel.get("mel_scale", "htk"),
    )
    return basis @ power64(spectrum, power)


@pytest.mark.parametrize("normalized", [False, True, "frame_length", "window"])
@pytest.mark.parametrize("center, pad_mode, pad", PADDINGS)
@pytest.mark.parametrize("norm, mel_scale", [(None, "htk"), ("slaney", "slaney")])
def test_linear_mel_is_its_formula(normalized, center, pad_mode, pad, norm, mel_scale, torch_device, fused):
    x = torch.randn(2, 4000, device=torch_device)
    options = dict(normalized=normalized, center=center, pad_mode=pad_mode, pad=pad)
    mel = dict(n_mels=40, norm=norm, mel_scale=mel_scale)
    got = msp.mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=160, output_scale="linear", **mel, **options)
    assert_linear(got, reference(x, **mel, **options))


@pytest.mark.parametrize("log_mode", ["clamp", "add", "log1p"])
def test_log_mel_is_its_formula(log_mode, torch_device, fused):
    x = torch.randn(2, 8000, device=torch_device)
    got = msp.mel_spectrogram(
        x, sample_rate=16000, n_fft=400, hop_length=160, n_mels=20, power=1.0, output_scale="log", log_mode=log_mode
    )
    mel = reference(x, power=1.0, n_mels=20)
    assert_absolute(got, log64(mel, log_mode, 1e-5), LOG_MAX_ABS, away_from_the_clamp(mel, 1e-5))


@pytest.mark.parametrize("top_db", [None, 80.0, 15.0])
@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("scope", ["batch", "item"])
def test_decibels_are_their_formula(top_db, power, scope, torch_device, fused):
    x = torch.randn(3, 8000, device=torch_device) * torch.tensor([[1.0], [0.1], [0.01]], device=torch_device)
    got = msp.mel_spectrogram(
        x, sample_rate=16000, n_fft=400, hop_length=160, n_mels=20, power=power, top_db=top_db, top_db_scope=scope
    )
    mel = reference(x, power=power, n_mels=20)
    dims = (-3, -2, -1) if scope == "batch" else (-2, -1)
    assert_absolute(got, db64(mel, 20 if power == 1 else 10, top_db, dims), DB_MAX_ABS, away_from_the_clamp(mel, 1e-10))


@pytest.mark.parametrize("shape", [(4000,), (1, 4000), (2, 3, 4000), (2, 1, 2, 4000)])
def test_any_number_of_batch_dimensions(shape, torch_device, fused):
    x = torch.randn(shape, device=torch_device)
    options = dict(sample_rate=16000, n_fft=400, hop_length=160, n_mels=20)
    got = msp.mel_spectrogram(x, top_db=10.0, **options)
    assert got.shape == (*shape[:-1], 20, 26)
    # As torchaudio packs it: the last batch dimension and nothing before it.
    mel = msp.mel_spectrogram(x, output_scale="linear", **options)
    packed = mel if len(shape) > 1 else mel.unsqueeze(0)
    expected = db64(packed.cpu().double(), 10, 10.0).reshape(got.shape)
    assert_absolute(got, expected, DB_MAX_ABS)
    assert torch.equal(got, msp.amplitude_to_db(mel, top_db=10.0)) or torch.allclose(
        got, msp.amplitude_to_db(mel, top_db=10.0), atol=DB_MAX_ABS
    )


def test_an_empty_batch_gives_an_empty_result(torch_device, fused):
    x = torch.randn(0, 4000, device=torch_device)
    got = msp.mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=160, n_mels=20)
    assert got.shape == (0, 20, 26) and got.dtype is torch.float32
    assert msp.mel_spectrogram(
        x.reshape(2, 0, 4000), sample_rate=16000, n_fft=400, hop_length=160, n_mels=20
    ).shape == (2, 0, 20, 26)


def test_amplitude_to_db(torch_device):
    x = torch.rand(2, 3, 20, 30, device=torch_device) + 1e-12
    assert_absolute(msp.amplitude_to_db(x, top_db=20.0), db64(x.cpu().double(), 10, 20.0), DB_MAX_ABS)
    by_item = db64(x.cpu().double(), 10, 20.0, (-2, -1))
    assert_absolute(msp.amplitude_to_db(x, top_db=20.0, top_db_scope="item"), by_item, DB_MAX_ABS)
    assert_absolute(
        msp.amplitude_to_db(x, stype="magnitude", top_db=None, amin=1e-3),
        db64(x.cpu().double(), 20, None, amin=1e-3),
        DB_MAX_ABS,
    )
    assert msp.amplitude_to_db(x[0, 0, 0], top_db=3.0).shape == (30,)


@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
def test_mel_filterbanks_are_their_formula(norm, mel_scale):
    arguments = dict(n_freqs=257, f_min=20, f_max=7600, n_mels=64, sample_rate=16000, norm=norm, mel_scale=mel_scale)
    assert_linear(msp.melscale_fbanks(**arguments), mel64(257, 20, 7600, 64, 16000, norm, mel_scale), 1e-7)
    wide = msp.melscale_fbanks(dtype=torch.float64, **arguments)
    assert_linear(wide, mel64(257, 20, 7600, 64, 16000, norm, mel_scale), 1e-13)
    wide.zero_()  # the caller's own
    assert msp.melscale_fbanks(**arguments).any()


def test_double_precision_stays_double_precision():
    x = torch.randn(2, 4000, dtype=torch.float64)
    got = msp.mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=160, n_mels=20, output_scale="linear")
    assert got.dtype is torch.float64
    assert_linear(got, reference(x, n_mels=20), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype, torch_device, fused):
    x = torch.randn(2, 4000, device=torch_device).to(dtype)
    got = msp.mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=160, n_mels=20, output_scale="linear")
    assert got.dtype is torch.float32
    assert_linear(got, reference(x, n_mels=20))


signals = some.tuples(some.integers(1, 3), some.integers(900, 2500))
arguments = some.fixed_dictionaries(dict(
    n_fft=some.sampled_from([400, 813]), hop_length=some.integers(1, 900), center=some.booleans(),
    pad_mode=some.sampled_from(["constant", "reflect", "replicate", "circular"]), pad=some.sampled_from([0, 0, 5]),
    power=some.sampled_from([1.0, 2.0, 1.3]), normalized=some.sampled_from([False, True, "window"]),
    n_mels=some.integers(1, 60), f_min=some.sampled_from([0.0, 55.0]), f_max=some.sampled_from([None, 3000.0]),
    norm=some.sampled_from([None, "slaney"]), mel_scale=some.sampled_from(["htk", "slaney"]),
    output_scale=some.sampled_from(["linear", "log", "db"]), log_mode=some.sampled_from(["clamp", "add", "log1p"]),
    log_amin=some.sampled_from([1e-5, 1e-2]), top_db=some.sampled_from([None, 0.0, 20.0]),
    top_db_scope=some.sampled_from(["batch", "item"]),
    window_fn=some.sampled_from([torch.hann_window, torch.hamming_window, torch.ones]),
))  # fmt: skip


@pytest.mark.thorough
@given(signals, arguments, some.integers(0, 2**31))
@settings(max_examples=60)
def test_whatever_the_arguments_fused_is_composed(device_name, torch_device, signal, given_arguments, seed):
    x = torch.randn(signal, generator=torch.Generator().manual_seed(seed)).to(torch_device)
    win_length = given_arguments["n_fft"] - seed % 50
    options = dict(sample_rate=16000, win_length=win_length, **given_arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # narrow bands may be empty
        with msp.accelerated(devices=(device_name,), on_error="raise", verify="off"):
            got = msp.mel_spectrogram(x, **options)
        linear = msp.mel_spectrogram(x.cpu().double(), **{**options, "output_scale": "linear"})
        expected = msp.mel_spectrogram(x.cpu().double(), use_mps_kernels=False, **options)
    assert got.shape == expected.shape and got.dtype is torch.float32
    if options["output_scale"] == "linear":
        assert float((got.cpu() - expected).norm()) <= 1e-6 * float(expected.norm())
    else:
        judged = (linear > 1e-3 * linear.mean(-2, keepdim=True)) & (linear > 0)
        assert float(((got.cpu() - expected).abs() * judged).max()) <= 2e-2
        assert float(((got.cpu() - expected).abs() * judged).mean()) <= 1e-4


def call(**changes):
    options = dict(sample_rate=16000, n_fft=400, hop_length=160, n_mels=20)
    return msp.mel_spectrogram(torch.randn(1, 4000), **{**options, **changes})


@pytest.mark.parametrize("changes, message", [
    (dict(output_scale="decibel"), "output_scale='decibel'"), (dict(log_mode="ln"), "log_mode='ln'"),
    (dict(pad_mode="zeros"), "pad_mode='zeros'"), (dict(mel_scale="bark"), "mel_scale='bark'"),
    (dict(norm="l2"), "norm='l2'"), (dict(f_max=9000.0), "above half the sample rate"),
    (dict(f_min=5000.0, f_max=4000.0), "f_min: 5000.0 <= f_max: 4000.0"), (dict(f_min=-1.0), "f_min"),
    (dict(n_mels=0), "n_mels=0"), (dict(power=0.0), "power=0.0"), (dict(power=-1.0), "power=-1.0"),
    (dict(hop_length=0), "hop_length=0"), (dict(win_length=500), "win_length=500"), (dict(pad=-1), "pad=-1"),
    (dict(normalized="energy"), "normalized='energy'"), (dict(top_db=-3.0), "top_db=-3.0"),
    (dict(top_db_scope="row"), "top_db_scope='row'"), (dict(output_scale="log", log_amin=0.0), "log_amin=0.0"),
    (dict(window=torch.ones(300)), r"window must be \[400\]"), (dict(window=torch.ones(2, 400)), r"window must be"),
    (dict(sample_rate=0), "sample_rate=0|above half"),
])  # fmt: skip
def test_arguments_that_make_no_sense_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        call(**changes)


def test_a_waveform_must_be_floating_point():
    with pytest.raises(TypeError, match="int64"):
        msp.mel_spectrogram(torch.arange(4000), sample_rate=16000, n_fft=400, hop_length=160)


def test_a_signal_that_is_too_short_gives_torchs_error(fused, torch_device):
    for options in (dict(pad_mode="reflect"), dict(center=False)):
        with pytest.raises(RuntimeError, match="[Pp]adding size should be less|expected 0 < n_fft"):
            msp.mel_spectrogram(
                torch.randn(1, 150, device=torch_device), sample_rate=16000, n_fft=400, hop_length=160, **options
            )


def test_too_many_bands_warn_as_torchaudio_does():
    with pytest.warns(UserWarning, match=r"At least one mel filterbank has all zero values.*`n_mels` \(300\)"):
        basis = msp.melscale_fbanks(n_freqs=201, f_min=0, f_max=8000, n_mels=300, sample_rate=16000)
    assert not basis.any(1).all()
    with pytest.warns(UserWarning, match="n_mels"):
        msp.MelSpectrogramTransform(sample_rate=16000, n_fft=400, hop_length=160, n_mels=300)


def test_empty_bands_are_zero_and_their_logarithm_is_the_clamp(torch_device, fused):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transform = msp.MelSpectrogramTransform(
            sample_rate=16000, n_fft=400, hop_length=160, n_mels=300, output_scale="log"
        ).to(torch_device)
    got = transform(torch.randn(2, 4000, device=torch_device))
    empty = ~transform.basis.any(1)
    assert empty.any() and torch.equal(got[:, empty], torch.full_like(got[:, empty], torch.tensor(1e-5).log().item()))


def test_what_is_made_for_fake_tensors_is_not_kept_for_real_ones():
    calls = (
        lambda x: msp.dynamic_spectrogram(x, n_fft=434, hop_length=160),
        lambda x: msp.stft(x, n_fft=434),
    )
    for call in calls:
        with FakeTensorMode():
            assert type(call(torch.randn(1, 4000))) is FakeTensor
        assert type(call(torch.randn(1, 4000))) is torch.Tensor
