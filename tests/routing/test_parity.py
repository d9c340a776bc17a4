"""Whatever the arguments: the patched functions return, raise and warn exactly what the unpatched ones do.

Most calls here go to the original, and that is the point: the fast path must not take what torch refuses.
"""

from __future__ import annotations

import warnings

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

import mps_spectro_patch as msp

from .. import like_mps

STFT, ISTFT = torch.functional.stft, torch._VF.istft


def outcome(function, args, kwargs):
    """(result or error, warnings) of one call, in a form that can be compared."""
    torch.set_warn_always(True)  # torch says most things once per process, and the second call would look different
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            result = type(error), str(error)
        finally:
            torch.set_warn_always(False)
    return result, [(warning.category, str(warning.message).split(" (Triggered")[0]) for warning in said]


def check(name, original, device_name, args, kwargs):
    with msp.accelerated(devices=(device_name,)):
        ours, our_warnings = outcome(getattr(torch, name), args, kwargs)
    theirs, their_warnings = outcome(original, args, kwargs)
    assert our_warnings == their_warnings
    if isinstance(theirs, tuple):
        assert ours == theirs
        return
    assert (ours.shape, ours.dtype, ours.requires_grad) == (theirs.shape, theirs.dtype, theirs.requires_grad)
    assert ours.is_conj() == theirs.is_conj() and ours.device == theirs.device
    if theirs.numel():
        assert moving_strides(ours) == moving_strides(theirs)
        ours, theirs = ours.detach(), theirs.detach()
        if not theirs.isfinite().all():
            # Which outputs of its frame a NaN reaches depends on the factors an FFT multiplies by: torch's are others.
            finite = ours.isfinite() & theirs.isfinite()
            ours, theirs = torch.where(finite, ours, 0), torch.where(finite, theirs, 0)
        scale = float(theirs.abs().nan_to_num(posinf=0).max()) or 1.0
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)


def moving_strides(tensor):
    """The strides that move: torch gives dimensions of size 1 others on CUDA than on the CPU."""
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


def hann(length, dtype=torch.float32):
    return torch.hann_window(length, dtype=dtype)


x = torch.linspace(-1, 1, 300).reshape(3, 100).sin()
GOOD = dict(n_fft=16, hop_length=4, window=hann(16), return_complex=True)
STFT_CASES = {
    "plain": {},
    "one dimension": dict(input=x[0]),
    "no batch": dict(input=x[:0]),
    "no samples": dict(input=x[:, :0]),
    "no samples, constant padding": dict(input=x[:, :0], pad_mode="constant"),
    "three dimensions": dict(input=x[None]),
    "no dimensions": dict(input=x[0, 0]),
    "a list": dict(input=[1.0, 2.0]),
    "numpy": dict(input=x.numpy()),
    "None": dict(input=None),
    "float64": dict(input=x.double()),
    "float16": dict(input=x.half()),
    "bfloat16": dict(input=x.bfloat16()),
    "integers": dict(input=x.long()),
    "booleans": dict(input=x > 0, center=False),
    "complex": dict(input=torch.complex(x, x)),
    "sparse": dict(input=x.to_sparse()),
    "not contiguous": dict(input=x.T.contiguous().T),
    "expanded": dict(input=x[:1].expand(5, 100)),
    "every second sample": dict(input=x[:, ::2]),
    "a Parameter": dict(input=torch.nn.Parameter(x)),
    "requires_grad": dict(input=x.clone().requires_grad_()),
    "window requires_grad": dict(window=hann(16).requires_grad_()),
    "NaN": dict(input=torch.where(x > 0.9, torch.nan, x)),
    "infinity": dict(input=torch.where(x > 0.9, torch.inf, x)),
    "not centred": dict(center=False),
    "normalized": dict(normalized=True),
    "onesided": dict(onesided=True),
    "two-sided": dict(onesided=False),
    "real output": dict(return_complex=False),
    "return_complex missing": dict(return_complex=None),
    "align_to_window True": dict(align_to_window=True),
    "align_to_window False": dict(align_to_window=False),
    "align_to_window False, not centred": dict(align_to_window=False, center=False),
    "align_to_window True, not centred": dict(align_to_window=True, center=False),
    "hop missing": dict(hop_length=None),
    "hop zero": dict(hop_length=0),
    "hop negative": dict(hop_length=-1),
    "hop longer than everything": dict(hop_length=1000),
    "hop a float": dict(hop_length=4.0),
    "hop numpy": dict(hop_length=numpy.int64(4)),
    "hop a bool": dict(hop_length=True),
    "hop a tensor": dict(hop_length=torch.tensor(4)),
    "n_fft zero": dict(n_fft=0),
    "n_fft negative": dict(n_fft=-1),
    "n_fft one": dict(n_fft=1, window=hann(1), hop_length=1),
    "n_fft two": dict(n_fft=2, window=hann(2)),
    "n_fft odd": dict(n_fft=15, window=hann(15)),
    "n_fft three, default hop is zero": dict(n_fft=3, window=hann(3), hop_length=None),
    "n_fft with a prime factor 11": dict(n_fft=22, window=hann(22)),
    "n_fft a float": dict(n_fft=16.0),
    "n_fft a string": dict(n_fft="16"),
    "n_fft numpy": dict(n_fft=numpy.int32(16)),
    "n_fft a tensor": dict(n_fft=torch.tensor(16)),
    "n_fft longer than the signal": dict(n_fft=128, window=hann(128)),
    "n_fft longer than the signal, not centred": dict(n_fft=128, window=hann(128), center=False),
    "n_fft as long as the signal, not centred": dict(n_fft=100, window=hann(100), center=False),
    "win_length": dict(win_length=9, window=hann(9)),
    "win_length zero": dict(win_length=0, window=hann(0)),
    "win_length longer than n_fft": dict(win_length=17, window=hann(17)),
    "win_length a float": dict(win_length=16.0),
    "window missing": dict(window=None),
    "window missing with win_length": dict(window=None, win_length=9),
    "window too short": dict(window=hann(15)),
    "window with two dimensions": dict(window=hann(16)[None]),
    "window without dimensions": dict(window=torch.tensor(1.0)),
    "window float64": dict(window=hann(16, torch.float64)),
    "window float16": dict(window=hann(16).half()),
    "window of integers": dict(window=torch.ones(16, dtype=torch.long)),
    "window complex": dict(window=torch.ones(16, dtype=torch.complex64)),
    "window a list": dict(window=[1.0] * 16),
    "window on another device": dict(window=torch.ones(16, device="meta")),
    "window reversed": dict(window=hann(16).flip(0)),
    "window expanded": dict(window=torch.ones(1).expand(16)),
    "window a stride of two": dict(window=hann(32)[::2]),
    "window with NaN": dict(window=torch.full((16,), torch.nan)),
    "pad reflect as long as the signal": dict(input=x[:, :8]),
    "pad reflect one less": dict(input=x[:, :9]),
    "pad constant": dict(pad_mode="constant"),
    "pad constant, one sample": dict(pad_mode="constant", input=x[:, :1]),
    "pad replicate, one sample": dict(pad_mode="replicate", input=x[:, :1]),
    "pad circular as long as the signal": dict(pad_mode="circular", input=x[:, :8]),
    "pad circular longer than the signal": dict(pad_mode="circular", input=x[:, :7]),
    "pad mode unknown": dict(pad_mode="bogus"),
    "pad mode unknown, not centred": dict(pad_mode="bogus", center=False),
    "pad mode None": dict(pad_mode=None),
    "center an int": dict(center=1),
    "center zero": dict(center=0),
    "center None": dict(center=None),
    "normalized an int": dict(normalized=1),
    "normalized None": dict(normalized=None),
    "normalized a string": dict(normalized="window"),
    "onesided an int": dict(onesided=1),
    "return_complex an int": dict(return_complex=1),
    "an unknown keyword": dict(out=x),
}

spectrum = STFT(x, 16, 4, window=hann(16), return_complex=True)
twosided = STFT(x, 16, 4, window=hann(16), onesided=False, return_complex=True)
ISTFT_GOOD = dict(n_fft=16, hop_length=4, window=hann(16))
ISTFT_CASES = {
    "plain": {},
    "no batch dimension": dict(input=spectrum[0]),
    "no batch": dict(input=spectrum[:0]),
    "no frames": dict(input=spectrum[..., :0]),
    "no bins": dict(input=spectrum[:, :0]),
    "four dimensions": dict(input=spectrum[None]),
    "one dimension": dict(input=spectrum[0, :, 0]),
    "real": dict(input=spectrum.real),
    "a list": dict(input=[1.0]),
    "None": dict(input=None),
    "complex128": dict(input=spectrum.to(torch.complex128)),
    "conjugate": dict(input=spectrum.conj()),
    "contiguous": dict(input=spectrum.contiguous()),
    "expanded": dict(input=spectrum[:1].expand(4, -1, -1)),
    "requires_grad": dict(input=spectrum.clone().requires_grad_()),
    "window requires_grad": dict(window=hann(16).requires_grad_()),
    "NaN": dict(input=torch.where(spectrum.real > 1, torch.nan, spectrum)),
    "two-sided": dict(input=twosided),
    "two-sided on request": dict(input=twosided, onesided=False),
    "two-sided called onesided": dict(input=twosided, onesided=True),
    "onesided": dict(onesided=True),
    "onesided called two-sided": dict(onesided=False),
    "a bin too few": dict(input=spectrum[:, :8]),
    "complex output": dict(input=twosided, return_complex=True),
    "complex output, onesided": dict(return_complex=True),
    "normalized": dict(normalized=True),
    "length": dict(length=100),
    "length short": dict(length=10),
    "length one": dict(length=1),
    "length zero": dict(length=0),
    "length negative": dict(length=-5),
    "length all there is": dict(length=108),
    "length one more": dict(length=109),
    "length much more": dict(length=500),
    "length a float": dict(length=100.0),
    "length a bool": dict(length=True),
    "length numpy": dict(length=numpy.int64(100)),
    "length a tensor": dict(length=torch.tensor(100)),
    "not centred, hann": dict(center=False),
    "not centred, hamming": dict(center=False, window=torch.hamming_window(16)),
    "not centred, hamming, length": dict(center=False, window=torch.hamming_window(16), length=50),
    "not centred, hamming, length too long": dict(center=False, window=torch.hamming_window(16), length=150),
    "center an int": dict(center=1),
    "one frame": dict(input=spectrum[..., :1]),
    "one frame, length": dict(input=spectrum[..., :1], length=7),
    "one frame, length eight": dict(input=spectrum[..., :1], length=8),
    "one frame, not centred": dict(input=spectrum[..., :1], center=False, window=torch.ones(16)),
    "hop missing": dict(hop_length=None),
    "hop zero": dict(hop_length=0),
    "hop longer than the window": dict(hop_length=10, win_length=9, window=hann(9)),
    "hop as long as the window": dict(hop_length=16, window=torch.ones(16)),
    "hop a float": dict(hop_length=4.0),
    "hop numpy": dict(hop_length=numpy.int64(4)),
    "win_length": dict(win_length=9, window=hann(9)),
    "win_length zero": dict(win_length=0, hop_length=0, window=None),
    "win_length longer than n_fft": dict(win_length=17, window=hann(17)),
    "window missing": dict(window=None),
    "window too short": dict(window=hann(15)),
    "window with two dimensions": dict(window=hann(16)[None]),
    "window zero": dict(window=torch.zeros(16)),
    "window tiny": dict(window=hann(16) * 1e-6),
    "window small": dict(window=hann(16) * 1e-5),
    "window with NaN": dict(window=torch.full((16,), torch.nan)),
    "window float64": dict(window=hann(16, torch.float64)),
    "window complex": dict(window=torch.ones(16, dtype=torch.complex64)),
    "window on another device": dict(window=torch.ones(16, device="meta")),
    "n_fft two, two bins": dict(n_fft=2, window=hann(2), hop_length=1, input=spectrum[:, :2]),
    "n_fft one": dict(n_fft=1, window=torch.ones(1), hop_length=1, input=spectrum[:, :1]),
    "n_fft a float": dict(n_fft=16.0),
    "n_fft too small": dict(n_fft=14, window=hann(14)),
    "an unknown keyword": dict(out=x),
    "pad_mode": dict(pad_mode="reflect"),
}


def on_device(value, device):
    return value.detach().to(device).requires_grad_(value.requires_grad) if _moves(value) else value


def _moves(value) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu" and type(value) is torch.Tensor


def run_case(name, original, base, case, device_name, device):
    tensors = [value for value in case.values() if isinstance(value, torch.Tensor)]
    if device.type == "mps" and any(value.dtype in (torch.float64, torch.complex128) for value in tensors):
        pytest.skip("MPS has no tensors of doubles")
    if like_mps.wanted() and any(value.is_sparse for value in tensors):
        pytest.skip("like-mps is not a Mac: it has no sparse tensors")
    arguments = {key: on_device(value, device) for key, value in {**base, **case}.items()}
    check(name, original, device_name, (), arguments)
    input, n_fft = arguments.pop("input"), arguments.pop("n_fft")
    check(name, original, device_name, (input, n_fft), arguments)


@pytest.mark.parametrize("case", STFT_CASES)
def test_stft_does_what_torchs_does(case, device_name, torch_device):
    run_case("stft", STFT, {"input": x, **GOOD}, STFT_CASES[case], device_name, torch_device)


@pytest.mark.parametrize("case", ISTFT_CASES)
def test_istft_does_what_torchs_does(case, device_name, torch_device):
    run_case("istft", ISTFT, {"input": spectrum, **ISTFT_GOOD}, ISTFT_CASES[case], device_name, torch_device)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((x,), {}),
        ((x, 16, 4, 16, hann(16), True, "reflect", False, None, True, None, 1), {}),
        ((spectrum, 16, 4, 16, hann(16), True, False, None, None, False, 1), {}),
        ((spectrum, 16), {"n_fft": 16}),
        ((), {"n_fft": 16}),
        ((), {"input": spectrum}),
    ],
)
@pytest.mark.parametrize(("name", "original"), [("stft", STFT), ("istft", ISTFT)])
def test_wrong_numbers_of_arguments_give_torchs_words(name, original, args, kwargs, device_name):
    check(name, original, device_name, args, kwargs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype, device_name, torch_device):
    signal, window = x.to(torch_device), hann(16).to(torch_device)
    with torch.autocast(torch_device.type, dtype=dtype):
        check("stft", STFT, device_name, (signal, 16, 4, 16, window), dict(return_complex=True))
        check("istft", ISTFT, device_name, (spectrum.to(torch_device), 16, 4, 16, window), {})
    assert msp.stats()["stft"].fast == msp.stats()["istft"].fast == 1


def test_a_window_left_on_another_device_gets_torchs_error(device_name, torch_device):
    elsewhere = "meta" if torch_device.type == "cpu" else "cpu"
    signal, window = x.to(torch_device), hann(16).to(elsewhere)
    check("stft", STFT, device_name, (signal, 16, 4, 16, window), dict(return_complex=True))
    check("istft", ISTFT, device_name, (spectrum.to(torch_device), 16, 4, 16, window), {})


@given(
    samples=some.integers(1, 60),
    batch=some.sampled_from([None, 1, 2]),
    n_fft=some.sampled_from([16, 20]),
    hop=some.one_of(some.none(), some.integers(-1, 40)),
    win=some.one_of(some.none(), some.integers(0, 22)),
    center=some.booleans(),
    pad_mode=some.sampled_from(["reflect", "constant", "replicate", "circular"]),
    normalized=some.booleans(),
    onesided=some.sampled_from([None, True, False]),
)
def test_stft_agrees_with_torchs_at_every_edge(
    samples, batch, n_fft, hop, win, center, pad_mode, normalized, onesided, device_name, torch_device
):
    signal = torch.randn(samples) if batch is None else torch.randn(batch, samples)
    window = torch.rand(n_fft if win is None else win).to(torch_device) + 0.1
    arguments = (signal.to(torch_device), n_fft, hop, win, window, center, pad_mode, normalized, onesided, True)
    check("stft", STFT, device_name, arguments, {})


@given(
    frames=some.integers(0, 6),
    batch=some.sampled_from([None, 1, 2]),
    bins=some.sampled_from([9, 9, 9, 16, 8]),
    hop=some.one_of(some.none(), some.integers(0, 18)),
    win=some.one_of(some.none(), some.integers(0, 18)),
    center=some.booleans(),
    normalized=some.booleans(),
    onesided=some.sampled_from([None, True, False]),
    length=some.one_of(some.none(), some.integers(-1, 60)),
)
def test_istft_agrees_with_torchs_at_every_edge(
    frames, batch, bins, hop, win, center, normalized, onesided, length, device_name, torch_device
):
    shape = (bins, frames) if batch is None else (batch, bins, frames)
    window = torch.rand(16 if win is None else win).to(torch_device) + 0.1
    arguments = (
        torch.randn(shape, dtype=torch.complex64).to(torch_device),
        16,
        hop,
        win,
        window,
        center,
        normalized,
        onesided,
        length,
    )
    check("istft", ISTFT, device_name, arguments, {})
