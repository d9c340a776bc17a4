"""The front ends as modules: their numbers, buffers, state_dicts, copies, and what TorchScript makes of them."""

import copy
import io
import math
import pickle

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.front_ends import filterbanks

from .reference import (
    DB_MAX_ABS,
    LOG_MAX_ABS,
    assert_absolute,
    assert_linear,
    away_from_the_clamp,
    db64,
    mel64,
    power64,
    spectrum64,
)

MEL = mel64(201, 0, 8000, 20, 16000).float()
HANN = torch.hann_window(400, dtype=torch.float64)
MAKERS = {
    "mel": lambda **k: msp.MelSpectrogramTransform(sample_rate=16000, n_fft=400, hop_length=160, n_mels=20, **k),
    "log mel": lambda **k: msp.LogMelSpectrogramTransform(
        sample_rate=16000, n_fft=400, hop_length=160, n_mels=20, log_mode="log1p", **k),
    "compat": lambda **k: msp.MelSpectrogramTransform.compat(
        n_mels=20, normalized=True, pad=3, power=1.3, output_scale="log", log_mode="add", **k),
    "whisper": lambda **k: msp.WhisperLogMelTransform(20, **k),
    "filterbank": lambda **k: msp.FilterbankSpectrogramTransform(
        filterbank=MEL, hop_length=100, output_scale="log", normalize="per_feature", magnitude_eps=1e-3, power=1.0,
        **k),
    "mfcc": lambda **k: msp.MFCCTransform(n_mfcc=13, melkwargs=dict(n_mels=20), **k),
    "kaldi": lambda **k: msp.KaldiFbankTransform(**k),
}  # fmt: skip
DYNAMIC = dict(sample_rate=16000, n_fft=400, hop_length=160, n_mels=20)


@pytest.fixture
def x(torch_device):
    return torch.randn(2, 8000, device=torch_device)


@pytest.mark.parametrize("name", MAKERS)
def test_fused_composed_and_scripted_have_the_same_numbers(name, x, device_name):
    module = MAKERS[name]().to(x.device)
    composed = module(x)
    with msp.accelerated(devices=(device_name,), on_error="raise"):
        fused = module(x)
        assert torch.equal(copy.deepcopy(module)(x), fused)
        assert torch.equal(pickle.loads(pickle.dumps(module))(x), fused)
    tolerance = dict(rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(fused, composed, **tolerance)
    torch.testing.assert_close(torch.jit.script(module)(x), composed, **tolerance)
    one = torch.jit.script(module)(x[0])
    torch.testing.assert_close(one, module(x[0]), **tolerance)
    wide = (copy.deepcopy(module).cpu() if x.is_mps else copy.deepcopy(module)).double()(
        x.cpu().double() if x.is_mps else x.double()
    )
    assert wide.dtype is torch.float64
    torch.testing.assert_close(composed.cpu(), wide.cpu().float(), **tolerance)


@pytest.mark.parametrize("name", MAKERS)
def test_a_model_that_holds_one_is_scripted_and_stays_what_it_was(name, x):
    module = MAKERS[name]().to(x.device)
    model = torch.nn.Sequential(module, torch.nn.Identity())
    scripted = torch.jit.script(model)
    assert model[0] is module and type(module).__name__.endswith("Transform")
    saved = io.BytesIO()
    torch.jit.save(scripted, saved)
    saved.seek(0)
    torch.testing.assert_close(torch.jit.load(saved)(x), model(x), rtol=1e-4, atol=1e-3)


def test_the_dynamic_one_says_why_it_cannot_be_scripted():
    with pytest.raises(NotImplementedError, match="FFT size is chosen per call"):
        torch.jit.script(msp.DynamicMelSpectrogramTransform(**DYNAMIC))


@pytest.mark.parametrize("name", MAKERS)
def test_buffers_are_in_the_state_dict_on_request_only(name):
    assert not MAKERS[name]().state_dict()
    module = MAKERS[name](persistent=True)
    state = module.state_dict()
    assert {key.split(".")[-1] for key in state} == {"window", "basis"} | ({"dct"} if name == "mfcc" else set())
    other = MAKERS[name](persistent=True)
    other.load_state_dict({key: torch.zeros_like(value) for key, value in state.items()}, strict=True)
    assert not any(buffer.any() for buffer in other.buffers())
    assert {name for name, _ in module.named_buffers()} == set(state)


@pytest.mark.parametrize("name", MAKERS)
def test_half_leaves_buffers_exact_and_moves_them(name, x):
    module = MAKERS[name]()
    kept = [buffer.clone() for buffer in module.buffers()]
    module.half().to("meta")
    assert all(buffer.is_meta for buffer in module.buffers())
    module = MAKERS[name]().half().bfloat16()
    if name != "mfcc":  # whose cosine transform is an ordinary matrix
        assert all(torch.equal(a, b) for a, b in zip(module.buffers(), kept, strict=True))
    assert module(x.cpu().half()).dtype is torch.float32


def test_a_changed_buffer_counts(x, fused):
    module = MAKERS["mel"](persistent=True, output_scale="linear").to(x.device)
    before = module(x)
    module.load_state_dict({"window": module.window, "basis": 2 * module.basis})
    torch.testing.assert_close(module(x), 2 * before)
    with torch.no_grad():
        module.basis.mul_(2)
    torch.testing.assert_close(module(x), 4 * before)


def test_mel_transforms_are_their_function(x, fused):
    options = dict(
        sample_rate=16000,
        n_fft=400,
        hop_length=160,
        n_mels=20,
        f_min=50.0,
        f_max=7000.0,
        norm="slaney",
        mel_scale="slaney",
        win_length=320,
        center=False,
        power=1.0,
        window_fn=torch.hamming_window,
    )
    assert torch.equal(msp.MelSpectrogramTransform(**options).to(x.device)(x), msp.mel_spectrogram(x, **options))
    log = dict(output_scale="log", log_mode="add", log_amin=1e-3)
    assert torch.equal(
        msp.LogMelSpectrogramTransform(log_mode="add", log_amin=1e-3, **options).to(x.device)(x),
        msp.mel_spectrogram(x, **log, **options),
    )
    dynamic = msp.DynamicMelSpectrogramTransform(**options, **log).to(x.device)
    expected = msp.dynamic_mel_spectrogram(x, keyshift=2, speed=1.5, **log, **{**options, "center": True})
    assert torch.equal(dynamic(x, keyshift=2, speed=1.5, center=True), expected)
    assert dynamic(x, keyshift=2, speed=1.5).shape[-1] < expected.shape[-1]  # the module's own center=False


def test_compat_is_torchaudios_mel_spectrogram(x, fused):
    got = msp.MelSpectrogramTransform.compat(n_mels=20, normalized=True).to(x.device)(x)
    spectrum = spectrum64(x, HANN, 400, 200) / HANN.square().sum().sqrt()
    assert_linear(got, MEL.double() @ spectrum.abs() ** 2)
    assert torch.equal(msp.CompatMelSpectrogramTransform(n_mels=20, normalized=True).to(x.device)(x), got)


@pytest.mark.parametrize("log_mels", [False, True])
@pytest.mark.parametrize("norm", [None, "ortho"])
def test_mfcc_is_torchaudios(log_mels, norm, x, fused):
    melkwargs = dict(n_mels=20, win_length=300)
    got = msp.MFCCTransform(16000, 13, norm=norm, log_mels=log_mels, melkwargs=melkwargs).to(x.device)(x)
    window = torch.hann_window(300, dtype=torch.float64)
    mel = MEL.double() @ power64(spectrum64(x, window, 400, 150), 2.0)
    mel = (mel + 1e-6).log() if log_mels else db64(mel, 10, 80.0)
    dct = torch.tensor([[math.cos(math.pi / 20 * (n + 0.5) * k) for k in range(13)] for n in range(20)]).double()
    if norm == "ortho":
        dct = dct * math.sqrt(2 / 20)
        dct[:, 0] *= math.sqrt(0.5)
    else:
        dct = 2 * dct
    assert_absolute(got, dct.t() @ mel, DB_MAX_ABS * 20)


def test_mfcc_refuses_what_torchaudio_refuses():
    with pytest.raises(ValueError, match="DCT type not supported: 3"):
        msp.MFCCTransform(dct_type=3)
    with pytest.raises(ValueError, match="Cannot select more MFCC coefficients than # mel bins"):
        msp.MFCCTransform(n_mfcc=41, melkwargs=dict(n_mels=40))
    with pytest.raises(ValueError, match='norm must be either "ortho" or None'):
        msp.MFCCTransform(norm="slaney")


def test_a_filterbank_of_any_kind(x, fused):
    for basis in (MEL, torch.rand(17, 201), -MEL, torch.eye(201), torch.ones(1, 201)):
        module = msp.FilterbankSpectrogramTransform(filterbank=basis, hop_length=100).to(x.device)
        expected = basis.double() @ power64(spectrum64(x, HANN, 400, 100, True, "constant"), 2.0)
        assert_linear(module(x), expected)
    odd = msp.FilterbankSpectrogramTransform(filterbank=torch.rand(9, 201), n_fft=401, hop_length=100).to(x.device)
    assert odd(x).shape == (2, 9, 80)


def test_a_learnable_filterbank_learns(x, fused):
    module = msp.FilterbankSpectrogramTransform(filterbank=MEL, hop_length=100, learnable=True).to(x.device)
    assert [name for name, _ in module.named_parameters()] == ["basis"]
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-6)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = module(x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > losses[1] > losses[2]


def kaldi64(x, coefficient, window, use_power, use_log, basis):
    """Kaldi's fbank with snip_edges, without dither and without taking a frame's mean away, frame by frame."""
    frames = x.cpu().double().unfold(-1, 400, 160).clone()
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    spectrum = torch.fft.rfft((frames - coefficient * before) * window, 512).abs()
    energies = (spectrum**2 if use_power else spectrum) @ basis.double().t()
    return (energies.clamp(min=torch.finfo(torch.float32).eps).log() if use_log else energies).transpose(-1, -2)


@pytest.mark.parametrize("window_type, use_power, use_log", [("povey", True, True), ("hanning", False, False)])
@pytest.mark.parametrize("coefficient", [0.0, 0.97])
def test_kaldis_filterbank(window_type, use_power, use_log, coefficient, x, fused):
    module = msp.KaldiFbankTransform(
        num_mel_bins=30,
        window_type=window_type,
        use_power=use_power,
        use_log_fbank=use_log,
        preemphasis_coefficient=coefficient,
    ).to(x.device)
    window = torch.hann_window(400, periodic=False, dtype=torch.float64) ** (0.85 if window_type == "povey" else 1)
    # Kaldi's triangles, in mel, written out.
    mel = [1127 * math.log(1 + k * 16000 / 512 / 700) for k in range(257)]
    low, high = 1127 * math.log(1 + 20 / 700), 1127 * math.log(1 + 8000 / 700)
    step = (high - low) / 31
    basis = torch.tensor(
        [[max(0.0, 1 - abs(m - low - (band + 1) * step) / step) for m in mel[:256]] + [0.0] for band in range(30)]
    )
    expected = kaldi64(x, coefficient, window, use_power, use_log, basis)
    assert module(x).shape == expected.shape == (2, 30, 48)
    if use_log:
        assert_absolute(module(x), expected, 3 * LOG_MAX_ABS, away_from_the_clamp(expected.exp(), 1e-6))
    else:
        assert_linear(module(x), expected, 1e-6)


@pytest.mark.parametrize("options, message", [
    (dict(window_type="bartlett"), "window_type"), (dict(preemphasis_coefficient=2.0), "preemphasis"),
    (dict(frame_length=0.01), "two samples"), (dict(sample_frequency=22050.0), "odd"),
    (dict(low_freq=9000.0), "low_freq"), (dict(high_freq=9000.0), "high_freq"),
])  # fmt: skip
def test_kaldi_refuses_what_is_not_expressible(options, message):
    with pytest.raises(ValueError, match=message):
        msp.KaldiFbankTransform(**options)


@pytest.mark.parametrize("options, message", [
    (dict(normalize="all"), "normalize='all'"), (dict(output_scale="bel"), "output_scale"),
    (dict(n_fft=512), r"must be \[bands, 257\]"), (dict(hop_length=0), "hop_length"),
])  # fmt: skip
def test_bad_arguments_are_found_when_a_module_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        msp.FilterbankSpectrogramTransform(**{"filterbank": MEL, "hop_length": 100, **options})
    with pytest.raises(ValueError):
        msp.DynamicMelSpectrogramTransform(log_mode="ln", **DYNAMIC)
    with pytest.raises(TypeError, match="unexpected keyword"):
        MAKERS["mel"](hops=3)


def test_cosine_transforms_are_orthonormal():
    dct = filterbanks.cosine_transform(40, 40, "ortho").double()
    torch.testing.assert_close(dct @ dct.t(), torch.eye(40).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_modules_are_made_on_the_cpu_whatever_the_default_device(name):
    """float64, in which windows and filterbanks are made, is not to be had on Apple GPUs."""
    with torch.device("meta"):
        module = MAKERS[name]()
    assert all(not buffer.is_meta and buffer.any() for buffer in module.buffers())
    assert module(torch.randn(1, 4000)).isfinite().all()
