"""The full path of a call on "mps", on Linux: routing, launch, gradients and errors, with torch.mps as each release
documents it and nothing more."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import mps_spectro_patch as msp
from mps_spectro_patch.execution import quarantine
from mps_spectro_patch.kernels import compile_shader
from tests.tiers import some

from .contract import RELEASES
from .mps_double import Undocumented, standing_in

pytestmark = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="the double stands on the CPU build"
)
ORIGINAL_STFT, ORIGINAL_ISTFT = torch.functional.stft, torch._VF.istft
FAST = {"devices": ("mps",), "on_error": "raise", "on_fallback": "raise"}


@pytest.mark.parametrize("release", some(RELEASES, (RELEASES[0], RELEASES[-1])))
def test_calls_and_gradients_take_the_fast_path_with_documented_means_alone(monkeypatch, release):
    x, window = torch.randn(2, 1000, requires_grad=True), torch.hann_window(64)
    with standing_in(monkeypatch, release) as double, msp.accelerated(**FAST):
        spectrum = torch.stft(x, 64, 16, 64, window, return_complex=True)
        signal = torch.istft(spectrum, 64, 16, 64, window, length=1000)
        (gradient,) = torch.autograd.grad(signal.square().sum(), x)
        torch.stft(torch.randn(200).half().float(), 7, 3, window=torch.ones(7), return_complex=True)
        torch.stft(torch.randn(200, dtype=torch.complex64), 16, 4, window=torch.ones(16), return_complex=True)
    assert torch.allclose(signal, x, atol=1e-5) and torch.allclose(gradient, 2 * x, atol=1e-4)
    assert double.used == {"compile_shader"} and double.launches >= 6 and not double.undocumented
    assert msp.stats().to_dict()["stft"]["fast"] == 3 if hasattr(msp.stats(), "to_dict") else True


@pytest.mark.parametrize("release", ["2.7", "2.14"])
@pytest.mark.parametrize("failing, failure", [
    ("compile", SyntaxError("program_source:3:1: error: unknown type name 'kernle'")),
    ("compile", RuntimeError("Failed to create metal library, error: none")),
    ("take", RuntimeError("Failed to created pipeline state object, error: Threadgroup memory size (36864) exceeds")),
    ("launch", ValueError("Threadgroup size exceeds 64 limit")),
    ("launch", RuntimeError("Unsupported argument type")),
])  # fmt: skip
def test_an_error_costs_one_warning_and_the_original_answers(monkeypatch, release, failing, failure):
    x, window = torch.randn(2, 1000), torch.hann_window(64)
    expected = ORIGINAL_STFT(x, 64, 16, 64, window, return_complex=True)
    with standing_in(monkeypatch, release, failing=failing, failure=failure):
        with msp.accelerated(devices=("mps",)), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(3):
                assert torch.equal(torch.stft(x, 64, 16, 64, window, return_complex=True), expected)
        assert len(said) == 1 and str(failure) in str(said[0].message) and "report" in str(said[0].message)
        assert len(quarantine.plans) == 1
        with msp.accelerated(devices=("mps",), on_error="raise"):
            quarantine.plans.clear()
            with pytest.raises(type(failure), match=str(failure)[:20]):
                torch.stft(x, 64, 16, 64, window, return_complex=True)


def test_a_torch_without_the_compiler_is_a_clear_error(monkeypatch):
    with standing_in(monkeypatch, "2.7"), monkeypatch.context() as older:
        older.setattr(torch, "mps", type("mps", (), {})())
        with pytest.raises(RuntimeError, match=r"torch\.mps\.compile_shader needs torch 2\.7"):
            compile_shader("", "mps")


def test_the_double_refuses_what_a_release_does_not_document(monkeypatch):
    with standing_in(monkeypatch, "2.7") as double:
        with pytest.raises(AttributeError, match="no attribute 'load_metallib' in 2.7"):
            double.load_metallib  # noqa: B018
        with pytest.raises(AttributeError):
            double._host_alias_storage  # noqa: B018
        with pytest.raises(Undocumented, match="ASCII"):
            double.compile_shader("// \u03c9")
        source = "#include <metal_stdlib>\nkernel void f(device float* x [[buffer(0)]]) { x[0] = 1.0f; }"
        kernel = double.compile_shader(source).f
        with pytest.raises(AttributeError):
            kernel.prepare  # noqa: B018
        with pytest.raises(TypeError, match="error_buf_idx"):
            kernel(torch.zeros(1), error_buf_idx=0)
        with pytest.raises(RuntimeError, match="Unexpected argument types"):
            kernel([torch.zeros(1)])
        for wrong in (torch.zeros(1, dtype=torch.complex64).conj(), torch.tensor(1.0, dtype=torch.float64)):
            with pytest.raises(Undocumented):
                kernel(torch.zeros(1), wrong, threads=1)
        with pytest.raises(Undocumented, match="without threads"):
            kernel(torch.zeros(1), threads=0)
        kernel(x := torch.zeros(1))
        assert x.tolist() == [1]
    with standing_in(monkeypatch, "2.13") as double, pytest.raises(NotImplementedError):
        double.load_metallib  # noqa: B018


def test_fake_tensors_on_mps_are_routed_and_have_torchs_shapes_without_a_launch(monkeypatch):
    """torch.compile asks with such tensors; here they are the only mps tensors there can be."""
    with FakeTensorMode():
        x, window = torch.empty(2, 4000, device="mps"), torch.empty(400, device="mps")
        with msp.accelerated(devices=("mps",), on_fallback="raise"):
            spectrum = torch.stft(x, 400, 160, 400, window, return_complex=True)
            signal = torch.istft(spectrum, 400, 160, 400, window, length=4000)
        assert spectrum.device.type == signal.device.type == "mps"
        reference = ORIGINAL_STFT(torch.empty(2, 4000), 400, 160, 400, torch.empty(400), return_complex=True)
        assert (spectrum.shape, spectrum.stride()) == (reference.shape, reference.stride())
        assert signal.shape == (2, 4000) and spectrum.dtype is torch.complex64
        assert msp.explain(torch.stft, torch.empty(3000, device="mps"), 512, return_complex=True).fast
