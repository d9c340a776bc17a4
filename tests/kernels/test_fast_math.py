"""What is promised with PYTORCH_MPS_FAST_MATH=1, by which torch has Metal compiled as if there were no NaN, infinities
and no order of operations: on a build of the simulator with the same permissions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mps_spectro_patch import kernels
from mps_spectro_patch.kernels.compilers import simulator

pytestmark = pytest.mark.thorough
METAL = Path(kernels.__file__).parent / "metal"

PRELUDE = """
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.kernels import StftGeometry, features

on = dict(devices=("simulator",), verify="off", on_error="raise", on_fallback="raise")
torch.manual_seed(0)
x = torch.randn(2, 6000)

def error(found, right):
    return float((found - right).norm() / right.norm())
"""


@pytest.fixture
def run_fast(run_python, device_name):
    if device_name != "simulator":
        pytest.skip("the simulator's build is looked at")

    def run(code):
        return run_python(code, PRELUDE, PYTORCH_MPS_FAST_MATH="1")

    return run


def test_finite_signals_are_as_exact_as_ever(run_fast):
    run_fast("""
    for n_fft, hop in ((400, 160), (63, 16), (22, 5)):
        window = torch.hann_window(n_fft) + 0.1

        def stft(x):
            return torch.stft(x, n_fft, hop, window=window.to(x.dtype), return_complex=True)

        right, wide = stft(x.double()), x.double().requires_grad_()
        spectrum = right.to(torch.complex64)
        back = torch.istft(spectrum.to(torch.complex128), n_fft, hop, window=window.double(), length=6000)
        (gradient,) = torch.autograd.grad(stft(wide), wide, right)
        with msp.accelerated(**on):
            leaf = x.clone().requires_grad_()
            assert error(stft(x), right) < 3e-7
            assert error(torch.istft(spectrum, n_fft, hop, window=window, length=6000), back) < 3e-7
            assert error(torch.autograd.grad(stft(leaf), leaf, spectrum)[0], gradient) < 1e-6
    assert float(torch.tensor(1e-40) * 1) > 0  # the process calculates as before
    """)


def test_finite_features_and_losses_are_right_silence_and_floors_included(run_fast):
    run_fast("""
    signal = torch.cat([x, torch.zeros_like(x)], 1) * torch.tensor([[1.0], [1e4]])
    options = dict(sample_rate=16000, n_fft=400, hop_length=160, n_mels=20)
    right = msp.mel_spectrogram(signal.double(), **options)
    loss = msp.STFTLoss(64, 16, 64)
    with msp.accelerated(**on):
        assert (msp.mel_spectrogram(signal, **options) - right).abs().max() < 1e-3
    for other in (signal.flip(1), torch.zeros_like(signal), signal):
        right = loss(signal.double(), other.double())
        with msp.accelerated(**on):
            torch.testing.assert_close(loss(signal, other).double(), right, rtol=1e-4, atol=1e-4)
    """)


def test_quotients_whose_product_is_infinite_are_right(run_fast):
    """Four of a loss's quotients at a time: 1e14 each here, of finite signals."""
    run_fast("""
    loss = msp.STFTLoss(64, 16, 64, w_sc=0.0)
    for input, target in ((x * 1e10, torch.zeros_like(x)), (torch.zeros_like(x), x * 1e10)):
        right = float(loss(input.double(), target.double()))
        with msp.accelerated(**on):
            assert abs(float(loss(input, target)) - right) < 1e-4 * right and right > 30
    """)


def test_no_kernel_asks_whether_a_number_is_below_infinity():
    """LLVM 18 takes such a comparison for true with these permissions; LLVM 14 and GCC 12 do not."""
    texts = {path.name: path.read_text() for path in METAL.rglob("*.metal")}
    assert any("< FLT_MAX" in text for text in texts.values())
    assert [name for name, text in texts.items() if re.search(r"[<>]=?\s*-?INFINITY", text)] == []


def test_a_log1p_of_next_to_nothing_keeps_its_absolute_error_only(run_fast):
    said = run_fast("""
    window, geometry = torch.hann_window(64), StftGeometry(2, 6000, 64, 16, 64, 32, "reflect", False)
    for level in (1e-5, 1e-4, 1e-3, 1e-2):
        power = torch.stft(x.double() * level, 64, 16, window=window.double(), return_complex=True).abs().square()
        found = features.features(x * level, window, geometry, features.Features(33, scale="log1p", factor=3.0), None)
        right = 3.0 * torch.log1p(power)
        print(bool(((found - right).abs() < 3.0 * 1.2e-7 + 1e-6 * right).all()))
    """)
    assert said.split() == ["True"] * 4


def test_frames_without_nan_and_infinities_are_right_whatever_is_in_others(run_fast):
    run_fast("""
    window = torch.hann_window(400)
    x[0, 3000], x[1, 1000] = float("nan"), float("inf")
    right = torch.stft(x, 400, 160, window=window, return_complex=True)
    clean = torch.view_as_real(right).isfinite().all(-1).all(1)
    with msp.accelerated(**on):
        found = torch.stft(x, 400, 160, window=window, return_complex=True)
    assert 0 < int((~clean).sum()) < 10
    assert (found - right).abs().amax(1)[clean].max() < 1e-4
    """)


def test_such_a_build_is_another_one_and_only_with_the_variable(monkeypatch):
    source = "kernel void f(device float* x [[buffer(0)]]) { x[0] = 1.0f + x[0] - x[0]; }"
    paths = []
    for value in (None, "0", "1"):
        monkeypatch.delenv("PYTORCH_MPS_FAST_MATH", raising=False)
        if value is not None:
            monkeypatch.setenv("PYTORCH_MPS_FAST_MATH", value)
        simulator._precompiled.cache_clear()
        paths.append(simulator._build(source)[0])
    simulator._precompiled.cache_clear()
    assert paths[0] == paths[1] != paths[2]
