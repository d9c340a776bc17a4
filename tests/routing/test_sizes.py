"""Sizes that torch takes for integers: numpy's, tensors of one, subclasses of int. They are as fast as plain ints."""

from __future__ import annotations

import enum

import numpy
import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache, runner

N_FFT, HOP, WIN, LENGTH = 64, 16, 48, 900


class Size(enum.IntEnum):
    N_FFT, HOP, WIN, LENGTH = N_FFT, HOP, WIN, LENGTH


KINDS = {
    "numpy.int64": numpy.int64,
    "numpy.uint16": numpy.uint16,
    "tensor": torch.tensor,
    "int32 tensor": lambda size: torch.tensor(size, dtype=torch.int32),
    "Parameter": lambda size: torch.nn.Parameter(torch.tensor(size), requires_grad=False),
    "IntEnum": Size,
}
REFUSED = {
    "float": float,
    "numpy.float64": numpy.float64,
    "bool": lambda _: True,
    "numpy.bool": lambda _: numpy.bool_(True),
    "array": numpy.array,
    "float tensor": lambda size: torch.tensor(float(size)),
    "bool tensor": lambda _: torch.tensor(True),
    "tensor with a dimension": lambda size: torch.tensor([size]),
    "str": str,
}


@pytest.fixture
def x(torch_device):
    return torch.randn(2, 1000, device=torch_device)


@pytest.fixture
def window(torch_device):
    return torch.hann_window(WIN, device=torch_device)


@pytest.mark.parametrize("kind", KINDS)
def test_every_size_that_torch_takes_is_fast_and_gives_what_a_plain_int_gives(kind, x, window, device_name):
    size = KINDS[kind]
    plain = torch.stft(x, N_FFT, HOP, WIN, window, return_complex=True)
    back = torch.istft(plain, N_FFT, HOP, WIN, window, length=LENGTH)
    msp.reset_stats()
    with msp.accelerated(devices=(device_name,), on_fallback="raise"):
        for _ in range(3):
            one = torch.stft(x, size(N_FFT), size(HOP), size(WIN), window, return_complex=True)
            other = torch.istft(plain, size(N_FFT), size(HOP), size(WIN), window, length=size(LENGTH))
            direct = msp.stft(x, n_fft=size(N_FFT), hop_length=size(HOP), win_length=size(WIN), window=window)
            inverse = msp.istft(plain, n_fft=size(N_FFT), hop_length=size(HOP), win_length=size(WIN), window=window,
                                length=size(LENGTH))  # fmt: skip
    assert msp.stats()["stft"].fast == msp.stats()["istft"].fast == 6
    assert one.dtype == plain.dtype and one.stride() == plain.stride() and other.dtype == back.dtype
    for fast, right in ((one, plain), (direct, plain), (other, back), (inverse, back)):
        torch.testing.assert_close(fast, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_call_is_cached(kind, x, window, device_name, monkeypatch):
    size, routed = KINDS[kind], []
    decide = runner.routing.decide
    monkeypatch.setattr(runner.routing, "decide", lambda *given: routed.append(1) or decide(*given))
    with msp.accelerated(devices=(device_name,)):
        for _ in range(3):
            torch.stft(x, size(N_FFT), size(HOP), size(WIN), window, return_complex=True)
    assert len(routed) == 1


def test_a_tensor_that_changes_in_place_is_read_again_and_not_kept(x, window, device_name):
    hop, center = torch.tensor(HOP), torch.tensor(True)
    with msp.accelerated(devices=(device_name,), on_fallback="raise"):
        before = torch.stft(x, N_FFT, hop, WIN, window, return_complex=True)
        hop += HOP
        after = torch.stft(x, N_FFT, hop, WIN, window, return_complex=True)
    assert before.shape[-1] == 1 + 1000 // HOP and after.shape[-1] == 1 + 1000 // (2 * HOP)
    with msp.accelerated(devices=(device_name,)):
        with pytest.raises((TypeError, RuntimeError)):
            torch.stft(x, N_FFT, HOP, WIN, window, normalized=center, return_complex=True)
    kept = [value for key in call_cache.entries for part in key if isinstance(part, tuple) for value in part]
    assert not any(isinstance(value, torch.Tensor) for value in kept)


def test_a_front_end_reads_a_size_again(x):
    hop = torch.tensor(HOP)
    frames = []
    for _ in range(2):
        frames.append(msp.mel_spectrogram(x, sample_rate=8000, n_fft=N_FFT, hop_length=hop, n_mels=8).shape[-1])
        hop += HOP
    assert frames == [1 + 1000 // HOP, 1 + 1000 // (2 * HOP)]


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ["n_fft", "hop_length", "win_length", "length"])
def test_what_torch_refuses_has_its_error(kind, name, x, window, device_name):
    sizes = dict(n_fft=N_FFT, hop_length=HOP, win_length=WIN)
    op, given = (
        ("stft", x) if name != "length" else ("istft", torch.stft(x, window=window, return_complex=True, **sizes))
    )
    original = {"stft": torch.functional.stft, "istft": torch._VF.istft}[op]
    more = {"return_complex": True} if op == "stft" else {}
    wrong = {**sizes, name: REFUSED[kind](LENGTH if name == "length" else sizes[name]), "window": window, **more}
    with pytest.raises((TypeError, RuntimeError)) as theirs:
        original(given, **wrong)
    with msp.accelerated(devices=(device_name,)):
        for _ in range(2):
            with pytest.raises(type(theirs.value)) as ours:
                getattr(torch, op)(given, **wrong)
            assert str(ours.value) == str(theirs.value)


def test_a_size_without_a_value_goes_to_torch(x, window, device_name):
    hops = torch.tensor([HOP, HOP])
    with msp.accelerated(devices=(device_name,)), pytest.raises(RuntimeError, match="vmap"):
        torch.func.vmap(lambda hop: torch.stft(x, N_FFT, hop, WIN, window, return_complex=True))(hops)


def test_the_report_shows_numpys_sizes_as_numbers(x, window, device_name):
    msp.reset_stats()
    with msp.accelerated(devices=(device_name,)):
        torch.stft(x, numpy.int64(N_FFT), numpy.int64(HOP), WIN, window, return_complex=True)
    (row,) = msp.report()
    assert "n_fft=64, hop=16" in row.arguments
