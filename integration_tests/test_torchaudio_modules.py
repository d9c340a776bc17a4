"""torchaudio's modules under accelerate's hooks, and drawn calls of torchaudio's functions and modules, each compared
with torchaudio itself: values with float64, errors by type and text, and everything else that a caller can see."""

from __future__ import annotations

import os
import random
import warnings

import numpy as np
import pytest
import torch

import mps_spectro_patch as msp

torchaudio = pytest.importorskip("torchaudio")
hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

DEVICE_NAME = os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")
DEVICE = {"simulator": "cpu", "cuda": "cuda", "mps": "mps"}[DEVICE_NAME]
SEED = int(os.environ.setdefault("MPS_SPECTRO_TEST_SEED", str(random.SystemRandom().randrange(2**31))))
T, F = torchaudio.transforms, torchaudio.functional


def accelerated():
    return msp.accelerated(devices=(DEVICE_NAME,), torchaudio=True, on_error="raise", verify="off")


def outcome(call):
    """The result of call(), or the type and text of its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except Exception as error:
            return type(error), str(error)


def doubled(value):
    """Tensors in double precision, and modules with such."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    return value


def assert_alike(ours, theirs, exact) -> None:
    if not isinstance(theirs, torch.Tensor):
        assert ours == theirs
        return
    assert isinstance(ours, torch.Tensor), ours
    assert (ours.dtype, ours.device, ours.shape, ours.layout) == (
        theirs.dtype, theirs.device, theirs.shape, theirs.layout,
    )  # fmt: skip
    assert (ours.requires_grad, ours.is_contiguous()) == (theirs.requires_grad, theirs.is_contiguous())
    order = [s for s, n in zip(ours.stride(), ours.shape, strict=True) if n > 1]
    assert order == [s for s, n in zip(theirs.stride(), theirs.shape, strict=True) if n > 1]
    if not isinstance(exact, torch.Tensor) or not theirs.numel():
        return
    exact = exact.detach().cpu()
    finite = exact.isfinite()
    assert torch.equal(ours.detach().cpu().isfinite(), theirs.detach().cpu().isfinite())
    scale = float(exact[finite].abs().max()) if finite.any() else 0.0
    apart = [float((one.detach().cpu().to(exact.dtype) - exact)[finite].abs().max()) if finite.any() else 0.0
             for one in (ours, theirs)]  # fmt: skip
    assert apart[0] <= max(3 * apart[1], 2e-5 * scale), apart


# What people write for an int, a float, a bool and a choice.
SIZES = st.sampled_from([16, 25, 64, 80, 400, 512])
ODD_INTS = [int, int, int, np.int64, np.int32, float, str, torch.tensor, bool, lambda n: [n]]
BOOLS = st.sampled_from([True, True, True, False, False, 1, 0, None, np.bool_(True), "yes"])
NORMALIZED = st.sampled_from([False, False, False, True, "window", "frame_length", 1, 0, "other", None, np.bool_(True)])
POWERS = st.sampled_from([2.0, 2.0, 1.0, 2, 1, 0.5, 3, None, [2.0], np.float32(2), np.float64(1), True, "2", 0.0, -1.0])
PAD_MODES = st.sampled_from(["reflect", "constant", "replicate", "circular", "other", None, ["reflect"]])
DTYPES = st.sampled_from([torch.float32] * 6 + [torch.float64, torch.float16, torch.int16, torch.complex64])
SHAPES = st.sampled_from([(900,), (2, 900), (2, 3, 901), (1, 800), (0, 900), (2, 30), (900, 1), (2, 0), ()])


@st.composite
def waveforms(draw):
    shape, dtype = draw(SHAPES), draw(DTYPES)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))).to(DEVICE)
    x = (x * 1000).to(dtype) if not dtype.is_floating_point and not dtype.is_complex else x.to(dtype)
    how = draw(st.sampled_from(["plain", "plain", "plain", "transposed", "every second", "negative view", "gradient"]))
    if how == "transposed" and x.dim() > 1:
        x = x.mT.contiguous().mT
    elif how == "every second" and x.dim():
        x = x.repeat_interleave(2, -1)[..., ::2]
    elif how == "negative view" and dtype is torch.float32:
        x = torch.complex(x, -x).conj().imag
    elif how == "gradient" and dtype.is_floating_point:
        x = x.requires_grad_()
    return x


def odd(draw, number: int):
    return draw(st.sampled_from(ODD_INTS))(number)


@st.composite
def spectrograms(draw):
    n_fft = draw(SIZES)
    win = draw(st.sampled_from([n_fft, n_fft, n_fft // 2, n_fft + 1]))
    window = torch.hann_window(win, dtype=draw(st.sampled_from([torch.float32] * 5 + [torch.float64]))).to(DEVICE)
    return (
        draw(waveforms()), odd(draw, draw(st.sampled_from([0, 0, 7]))), window, odd(draw, n_fft),
        odd(draw, draw(st.sampled_from([n_fft // 2, n_fft // 4, 1 + n_fft // 3, 0]))), odd(draw, win), draw(POWERS),
        draw(NORMALIZED), draw(BOOLS), draw(PAD_MODES), draw(st.sampled_from([True, True, True, False, 1])),
    )  # fmt: skip


def many(test):
    """MPS_SPECTRO_TEST_EXAMPLES sets how many calls a test draws, MPS_SPECTRO_TEST_SEED repeats a run."""
    settings = hypothesis.settings(
        deadline=None, max_examples=int(os.environ.get("MPS_SPECTRO_TEST_EXAMPLES", "150")),
        suppress_health_check=list(hypothesis.HealthCheck), database=None, print_blob=True,
    )  # fmt: skip
    return hypothesis.seed(SEED)(settings(test))


@many
@hypothesis.given(spectrograms())
def test_drawn_spectrograms(given):
    theirs = outcome(lambda: F.spectrogram(*given))
    exact = outcome(lambda: F.spectrogram(*map(doubled, given)))
    with accelerated():
        for _ in range(2):
            assert_alike(outcome(lambda: F.spectrogram(*given)), theirs, exact)


@st.composite
def mels(draw):
    n_fft = draw(st.sampled_from([64, 80, 400]))
    options = dict(
        sample_rate=16000, n_fft=n_fft, hop_length=draw(st.sampled_from([None, n_fft // 4, 30])),
        win_length=draw(st.sampled_from([None, n_fft // 2])), pad=draw(st.sampled_from([0, 0, 5])),
        power=draw(st.sampled_from([2.0, 1.0, 1.5, 2])), n_mels=draw(st.sampled_from([5, 12])),
        normalized=draw(st.sampled_from([False, True, "window", "frame_length", 1])),
        center=draw(st.sampled_from([True, True, False, 1])), pad_mode=draw(PAD_MODES),
        norm=draw(st.sampled_from([None, "slaney"])),
    )  # fmt: skip
    kind = draw(st.sampled_from(["mel", "dB", "dB with top_db", "MFCC", "MFCC of logarithms"]))
    return draw(waveforms()), options, kind


def module_of(options, kind):
    if kind.startswith("MFCC"):
        melkwargs = {name: value for name, value in options.items() if name != "sample_rate"}
        return T.MFCC(16000, 4, melkwargs=melkwargs, log_mels=kind != "MFCC")
    mel = T.MelSpectrogram(**options)
    if kind == "mel":
        return mel
    return torch.nn.Sequential(mel, T.AmplitudeToDB("power", 30.0 if "top" in kind else None))


@many
@hypothesis.given(mels())
def test_drawn_modules(given):
    waveform, options, kind = given
    module = outcome(lambda: module_of(options, kind).to(DEVICE))
    if isinstance(module, tuple):
        return
    theirs = outcome(lambda: module(waveform))
    exact = outcome(lambda: module_of(options, kind).to(DEVICE, torch.float64)(doubled(waveform)))
    with accelerated():
        for _ in range(2):
            assert_alike(outcome(lambda: module(waveform)), theirs, exact)


MULTIPLIERS = st.sampled_from([10.0, 20.0, 10, "10", True, np.float32(20)])
LEAST = st.sampled_from([1e-10, 1e-5, 0.0, -1.0, 1, "1", None])
REFERENCES = st.sampled_from([0.0, 2.0, 1, "0", [0.0]])
RANGES = st.sampled_from([None, 80.0, 20, -5.0, "80", np.float64(30), True, [80.0]])


@many
@hypothesis.given(waveforms(), st.tuples(MULTIPLIERS, LEAST, REFERENCES, RANGES))
def test_drawn_decibels(x, numbers):
    x = x if x.is_complex() else x.abs()
    theirs = outcome(lambda: F.amplitude_to_DB(x, *numbers))
    exact = outcome(lambda: F.amplitude_to_DB(doubled(x), *numbers))
    with accelerated():
        for _ in range(2):
            assert_alike(outcome(lambda: F.amplitude_to_DB(x, *numbers)), theirs, exact)


@pytest.mark.parametrize("part", ["", "spectrogram", "mel_scale"])
def test_modules_with_a_hook_of_accelerates_do_what_that_says(part):
    hooks = pytest.importorskip("accelerate.hooks")

    class Louder(hooks.ModelHook):
        def post_forward(self, module, output):
            return 2 * output

    x, module = torch.randn(2, 4000, device=DEVICE), T.MelSpectrogram(16000, n_fft=400, n_mels=20).to(DEVICE)
    with accelerated():
        plain = module(x)
        hooks.add_hook_to_module(module.get_submodule(part), Louder())
        got = module(x)
        msp.disable()
        hooks.remove_hook_from_module(module, recurse=True)
        torch.testing.assert_close(module(x), plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    torch.testing.assert_close(got, 2 * plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


@pytest.mark.parametrize("offload", ["cpu_offload", "disk_offload", "dispatch_model"])
def test_modules_that_accelerate_keeps_elsewhere_are_torchaudios(offload, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    x, module = torch.randn(2, 4000, device=DEVICE), T.MelSpectrogram(16000, n_fft=400, n_mels=20).to(DEVICE)
    expected = module(x)
    device = torch.device(DEVICE)
    if offload == "cpu_offload":
        accelerate.cpu_offload(module, device, offload_buffers=True)
    elif offload == "disk_offload":
        accelerate.disk_offload(module, str(tmp_path), device, offload_buffers=True)
    else:
        accelerate.dispatch_model(module, {"": DEVICE}, main_device=DEVICE, force_hooks=True)
    with accelerated():
        for _ in range(2):
            torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
