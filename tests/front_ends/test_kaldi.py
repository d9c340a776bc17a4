"""KaldiFbankTransform with the steps that belong to a frame: the kernel's numbers, gradients and limits."""

from __future__ import annotations

import math

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.front_ends import kaldi
from mps_spectro_patch.kernels.compilers import cuda
from mps_spectro_patch.kernels.launch import dispatch
from mps_spectro_patch.kernels.launch import kaldi as kernels

EPSILON = torch.finfo(torch.float32).eps


@pytest.fixture
def fused(device_name):
    with msp.accelerated(devices=(device_name,), on_error="raise", verify="off"):
        yield


@pytest.fixture
def x(torch_device):
    return torch.randn(2, 3, 5000, device=torch_device) / 4 + 0.5


def window64(name, size):
    n = torch.arange(size, dtype=torch.float64) / (size - 1)
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * n)
    return {
        "povey": hann**0.85, "hanning": hann, "rectangular": torch.ones_like(n),
        "hamming": 0.54 - 0.46 * torch.cos(2 * math.pi * n),
        "blackman": 0.42 - 0.5 * torch.cos(2 * math.pi * n) + 0.08 * torch.cos(4 * math.pi * n),
    }[name]  # fmt: skip


def frame_by_frame(x, module, window_type="povey", remove_dc_offset=True, snip_edges=True, use_energy=False,
                   raw_energy=True, energy_floor=1.0, htk_compat=False, subtract_mean=False, use_power=True,
                   use_log_fbank=True, preemphasis_coefficient=0.97, **_):  # fmt: skip
    """Kaldi's formula, in float64; x: one waveform."""
    size, hop, n_fft = module.win_length, module.hop_length, module.n_fft
    samples, rows = x.shape[0], []
    frames = 1 + (samples - size) // hop if snip_edges else (samples + hop // 2) // hop
    for frame in range(frames):
        start = frame * hop if snip_edges else frame * hop + hop // 2 - size // 2
        places = [t if t >= 0 else -1 - t for t in range(start, start + size)]
        one = x[[t if t < samples else 2 * samples - 1 - t for t in places]]
        one = one - one.mean() if remove_dc_offset else one
        energy = one.square().sum()
        one = one - preemphasis_coefficient * torch.cat([one[:1], one[:-1]])
        one = one * window64(window_type, size)
        energy = energy if raw_energy else one.square().sum()
        bands = torch.fft.rfft(one, n_fft).abs() ** (2 if use_power else 1) @ module.basis.cpu().double().t()
        bands = bands.clamp(min=EPSILON).log() if use_log_fbank else bands
        level = energy.clamp(min=EPSILON).log()
        level = (level if energy_floor == 0 else level.clamp(min=math.log(energy_floor))).reshape(1)
        parts = [] if not use_energy else [level]
        rows.append(torch.cat([bands, *parts] if htk_compat else [*parts, bands]))
    result = torch.stack(rows)
    return (result - result.mean(0) if subtract_mean else result).t()


def rounding(levels):
    """What float32 may cost logarithms of energies [bands, frames]: a band gets the rounding of its frame's loudest,
    and its mean over time that of all frames."""
    louder = ((levels.amax(0) - levels) / 2).exp()
    return 8 * 2**-24 * (torch.maximum(louder, louder.mean(1, keepdim=True)) + levels.abs())


@pytest.mark.parametrize("options, count", [
    (dict(remove_dc_offset=True), 1), (dict(window_type="hamming"), 1),
    (dict(remove_dc_offset=True, use_energy=True, snip_edges=False, subtract_mean=True), 2),
    (dict(use_energy=True, raw_energy=False, htk_compat=True, energy_floor=0.0, window_type="blackman"), 1),
    (dict(round_to_power_of_two=False, use_power=False, use_log_fbank=False, window_type="rectangular"), 1),
    (dict(remove_dc_offset=True, sample_frequency=22050.0, frame_length=23.0, snip_edges=False), 1),
])  # fmt: skip
def test_options_within_a_frame_are_one_launch_of_kaldis_numbers(options, count, x, fused, launches):
    module = msp.KaldiFbankTransform(num_mel_bins=30, **options).to(x.device)
    got = module(x)
    assert len(launches) == count
    given = {"remove_dc_offset": False, **options}
    expected = frame_by_frame(x[1, 2].cpu().double(), module, **given)
    assert got.shape == (2, 3, *expected.shape) and got.dtype is torch.float32
    error = (got[1, 2].cpu() - expected).abs()
    if given.get("use_log_fbank", True):
        levels = frame_by_frame(x[1, 2].cpu().double(), module, **{**given, "subtract_mean": False})
        assert (error <= rounding(levels)).all()
    else:
        assert error.max() <= 1e-6 * expected.abs().max()
    composed = msp.KaldiFbankTransform(num_mel_bins=30, use_mps_kernels=False, **options).to(x.device)(x)
    torch.testing.assert_close(got, composed, rtol=1e-4, atol=1e-4)


def test_a_large_offset_does_not_cost_digits(x, fused, launches):
    module = msp.KaldiFbankTransform(remove_dc_offset=True).to(x.device)
    loud = x + 100.0
    expected = frame_by_frame(loud[0, 0].cpu().double(), module)
    composed = msp.KaldiFbankTransform(remove_dc_offset=True, use_mps_kernels=False).to(x.device)(loud)
    mine, theirs = ((one[0, 0].cpu() - expected).abs().max() for one in (module(loud), composed))
    assert len(launches) == 1 and mine <= 3 * theirs + 1e-5


@pytest.mark.thorough
def test_gradients_are_those_of_float64(x, fused):
    options = dict(remove_dc_offset=True, use_energy=True, snip_edges=False)
    module = msp.KaldiFbankTransform(**options).to(x.device)
    leaf, wide = x[0, :1].clone().requires_grad_(), x[0, 0].cpu().double().requires_grad_()
    features = module(leaf)
    weight = torch.randn(features.shape[1:], dtype=torch.float64)
    (features[0] * weight.float().to(x.device)).sum().backward()
    (frame_by_frame(wide, module, **options) * weight).sum().backward()
    error = (leaf.grad[0].cpu() - wide.grad).norm() / wide.grad.norm()
    assert float(error) <= 1e-5


@pytest.mark.thorough
def test_precisions_scripts_compiled_code_and_vmap(x, fused, launches):
    options = dict(remove_dc_offset=True, use_energy=True, subtract_mean=True)
    module = msp.KaldiFbankTransform(**options).to(x.device)
    expected = module(x)
    assert module(x.half()).dtype is torch.float32
    torch.testing.assert_close(torch.vmap(module)(x), expected)
    if x.device.type == "cpu":
        wide = msp.KaldiFbankTransform(**options).double()(x.double())
        assert wide.dtype is torch.float64
        torch.testing.assert_close(torch.jit.script(module)(x), expected, rtol=1e-4, atol=1e-4)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)


def test_outside_of_enable_it_is_composed_on_devices_other_than_mps(x, device_name, launches):
    module = msp.KaldiFbankTransform(remove_dc_offset=True).to(x.device)
    assert module(x[..., :400]).shape == (2, 3, 23, 1)
    assert len(launches) == (device_name == "mps")


@pytest.mark.parametrize("options, message", [
    (dict(energy_floor=-1.0), "energy_floor"), (dict(round_to_power_of_two=False, frame_length=25.1), "odd"),
    (dict(window_type="bartlett", remove_dc_offset=True), "window_type"),
])  # fmt: skip
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        msp.KaldiFbankTransform(**options)


def test_wrong_inputs_are_named(torch_device):
    module = msp.KaldiFbankTransform(remove_dc_offset=True).to(torch_device)
    with pytest.raises(RuntimeError, match="400 samples at least"):
        module(torch.zeros(2, 399, device=torch_device))
    with pytest.raises(TypeError, match="floating-point"):
        module(torch.zeros(2, 400, device=torch_device, dtype=torch.int64))
    assert module(torch.zeros(0, 400, device=torch_device)).shape == (0, 23, 1)


def test_an_error_around_the_kernel_gives_the_composed_result(x, device_name, monkeypatch):
    module = msp.KaldiFbankTransform(remove_dc_offset=True).to(x.device)
    expected = module(x)
    monkeypatch.setattr(kaldi, "_why_not", None)
    with msp.accelerated(devices=(device_name,)), pytest.warns(RuntimeWarning, match="KaldiFbankTransform"):
        torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-4)  # on MPS what is expected is fused


@pytest.mark.thorough
def test_torch_finds_nothing_wrong_with_the_operator(fused, torch_device, opcheck):
    module = msp.KaldiFbankTransform(remove_dc_offset=True, use_energy=True).to(torch_device)
    x = torch.randn(2, 1000, device=torch_device, requires_grad=True)
    operator = torch.ops.mps_spectro_patch.kaldi.default
    opcheck(operator, (x, module.window, module.basis, *module.kaldi_call))


@pytest.mark.thorough
@pytest.mark.parametrize("n_fft, power", [(512, 2.0), (400, 1.0)])
def test_the_kernels_become_machine_code(n_fft, power, nvrtc):
    name, defines, _ = kernels.launched(n_fft, 80, power, log=True)
    for text in (dispatch.kernel_text(name, defines), dispatch.kernel_text("msp_subtract_mean")):
        assert text.isascii()
        assert cuda.compile_unit(cuda.unit(cuda.translation(text)), (9, 0)).startswith(b"\x7fELF")
