"""The general family against float64: odd, prime and rough sizes, and everything complex, forward and backward."""

import pytest
import torch

from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import any_size, dispatch, transforms
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import PAD_MODES, IstftGeometry, StftGeometry
from tests.conformance.sources import plan_traits, way_parts
from tests.tiers import one_of_each

from ..outputs import poisoned_outputs
from .reference import assert_accurate, assert_gradient_accurate

# One point; tiny; odd smooth; prime; twice odd; even and rough (packed); of keyshift front ends; the largest.
SIZES = (1, 2, 3, 5, 7, 8, 9, 11, 14, 15, 22, 45, 105, 217, 346, 813, 997, 1085, 1150, 1218, 2039, 2187, 4093, 4095)
LARGE = (8168, 8186)  # even and rough: packed


def traits(n_fft):
    """Of the transform of a real frame: how it is made."""
    how = fft.transform(n_fft, False)
    return {(how.bluestein, how.packed), *plan_traits(how.plan)}


COMPLEX_SIZES = (1, 2, 3, 8, 13, 16, 60, 64, 243, 1024, 1085, 4096)


def complex_traits(n_fft):
    """Of the transform of a complex frame: how it is made, and whether one point is all of it."""
    how = fft.transform(n_fft, True)
    return {how.bluestein, n_fft > 1, *way_parts(how.plan)}


def random(shape, dtype, device):
    if dtype.is_complex or dtype is torch.float32:
        return torch.randn(shape, dtype=dtype, device=device)
    return torch.randn(shape, device=device).to(dtype)


def wide(tensor):
    return tensor.detach().cpu().to(torch.complex128 if tensor.is_complex() else torch.float64).requires_grad_()


def torch_stft(signal, window, g: StftGeometry):
    if g.pad:
        signal = torch.nn.functional.pad(signal[None], (g.pad, g.pad), g.pad_mode)[0]
    return torch._VF.stft(signal, g.n_fft, g.hop_length, g.win_length, window, g.normalized, g.onesided, True)


def torch_istft(spectrum, window, g: IstftGeometry, complex_output):
    return torch._VF.istft(
        spectrum,
        g.n_fft,
        g.hop_length,
        g.win_length,
        window,
        g.trim > 0,
        g.normalized,
        g.onesided,
        g.length,
        complex_output,
    )


def check_stft(
    n_fft,
    hop_length,
    samples,
    device,
    rows=2,
    win_length=None,
    pad=None,
    pad_mode="reflect",
    normalized=False,
    onesided=True,
    dtype=torch.float32,
    window_dtype=torch.float32,
):
    """Forward, and the gradient of the signal."""
    win_length = win_length or n_fft
    pad = n_fft // 2 if pad is None else pad
    if dtype.is_complex or window_dtype.is_complex:
        onesided = False
    geometry = StftGeometry(rows, samples, n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided)
    signal, window = random((rows, samples), dtype, device), random((win_length,), window_dtype, device)
    window = window if window_dtype.is_complex else window.abs() + 0.1
    x, w = wide(signal), wide(window)
    reference = torch_stft(x, w, geometry)
    with poisoned_outputs():
        got = transforms.stft(signal, window, geometry)
        assert_accurate(got, reference.detach())
        assert got.stride() == (geometry.frames * geometry.bins, 1, geometry.bins)
        gradient = torch.randn(reference.shape, dtype=torch.complex64, device=device)
        reference.backward(gradient.cpu().to(torch.complex128))
        assert_gradient_accurate(transforms.stft_adjoint(gradient, window, geometry, dtype.is_complex), x.grad)


def check_istft(
    n_fft,
    hop_length,
    frames,
    device,
    rows=2,
    win_length=None,
    center=True,
    normalized=False,
    onesided=True,
    extra=0,
    complex_output=False,
    window_dtype=torch.float32,
):
    """Forward, and the gradient of the spectrum."""
    win_length = win_length or n_fft
    onesided = onesided and not complex_output
    length = n_fft + hop_length * (frames - 1) - (n_fft // 2 * 2 if center else 0) + extra
    geometry = IstftGeometry(
        rows, frames, n_fft, hop_length, win_length, n_fft // 2 if center else 0, normalized, onesided, False, length
    )
    spectrum = torch.randn(rows, geometry.bins, frames, dtype=torch.complex64, device=device)
    window = torch.rand(win_length, device=device) + 0.3
    if window_dtype.is_complex:
        window = torch.complex(window, torch.rand(win_length, device=device) * 0.2)
    s, w = wide(spectrum), wide(window)
    reference = torch_istft(s, w, geometry, complex_output)
    with poisoned_outputs():
        assert_accurate(transforms.istft(spectrum, window, geometry, complex_output), reference.detach())
        gradient = torch.randn(
            reference.shape, dtype=torch.complex64 if complex_output else torch.float32, device=device
        )
        reference.backward(gradient.cpu().to(reference.dtype))
        assert_gradient_accurate(transforms.istft_adjoint(gradient, window, geometry), s.grad)


@pytest.mark.parametrize("n_fft", one_of_each((*SIZES, *LARGE), traits))
def test_stft_of_any_size(n_fft, torch_device):
    assert not fft.supports_real(n_fft) and fft.supports(n_fft)
    rows = 64 if n_fft < 8 else 2  # enough numbers for a relative error
    check_stft(n_fft, n_fft // 3 + 1, 3 * n_fft + 7, torch_device, rows)
    check_stft(n_fft, max(1, n_fft // 4), 2 * n_fft + 1, torch_device, rows, max(1, n_fft - 3), 0, onesided=False)


@pytest.mark.parametrize("n_fft", one_of_each((*SIZES[1:], *LARGE), traits))
def test_istft_of_any_size(n_fft, torch_device):
    rows = 64 if n_fft < 8 else 2
    check_istft(n_fft, n_fft // 3 + 1, 9, torch_device, rows, extra=2)
    check_istft(n_fft, max(1, n_fft // 4), 5, torch_device, rows, center=False, normalized=True, onesided=False)


@pytest.mark.parametrize("n_fft", one_of_each(COMPLEX_SIZES, complex_traits))
@pytest.mark.parametrize("window_dtype", [torch.float32, torch.complex64])
def test_complex_signals_of_any_size(n_fft, window_dtype, torch_device):
    rows = 64 if n_fft < 8 else 2
    check_stft(n_fft, n_fft // 3 + 1, 3 * n_fft, torch_device, rows, dtype=torch.complex64, window_dtype=window_dtype)
    if n_fft > 1:
        check_istft(n_fft, n_fft // 3 + 1, 7, torch_device, rows, complex_output=True, window_dtype=window_dtype)


@pytest.mark.parametrize("n_fft", [15, 16, 64, 1085])
def test_real_signals_under_complex_windows(n_fft, torch_device):
    check_stft(n_fft, n_fft // 3 + 1, 3 * n_fft, torch_device, window_dtype=torch.complex64)


@pytest.mark.parametrize("pad_mode", sorted(PAD_MODES))
@pytest.mark.parametrize("n_fft", [15, 22, 813])
def test_every_padding(n_fft, pad_mode, torch_device):
    for samples in (n_fft // 2 + 1, n_fft, n_fft + 1, 2 * n_fft + 3):
        check_stft(n_fft, n_fft // 4, samples, torch_device, pad_mode=pad_mode, normalized=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_signals(dtype, torch_device):
    for n_fft in (15, 1218):
        check_stft(n_fft, n_fft // 3, 3 * n_fft, torch_device, dtype=dtype)


@pytest.mark.parametrize("hop_length", [1, 2, 217, 230])
def test_any_hop(hop_length, torch_device):
    check_stft(217, hop_length, 700, torch_device)
    check_stft(218, hop_length, 700, torch_device)
    if hop_length < 217:
        check_istft(217, hop_length, 9, torch_device, rows=64)  # enough numbers for a relative error


def test_one_frame_and_other_lengths(torch_device):
    for n_fft in (15, 22, 813):
        check_stft(n_fft, n_fft, n_fft, torch_device, pad=0)
        check_istft(n_fft, n_fft // 2, 1, torch_device, center=False)
        check_istft(n_fft, n_fft // 4, 20, torch_device, extra=-3 * n_fft)
        check_istft(n_fft, n_fft // 4, 8, torch_device, extra=3 * n_fft)


@pytest.mark.parametrize("n_fft", [217, 813, 1218])
def test_frames_do_not_meet_in_a_transform(n_fft, torch_device):
    signal, window = torch.randn(1, 8 * n_fft, device=torch_device), torch.rand(n_fft, device=torch_device)
    geometry = StftGeometry(1, 8 * n_fft, n_fft, n_fft, n_fft, 0, "constant", False)
    clean = transforms.stft(signal, window, geometry)
    signal[0, 3 * n_fft + 5] = float("nan")
    signal[0, 5 * n_fft + 5] = 1e30
    got = transforms.stft(signal, window, geometry)
    for frame in (0, 1, 2, 4, 6, 7):
        assert torch.equal(torch.view_as_real(got[:, :, frame]), torch.view_as_real(clean[:, :, frame]))
    assert got[:, :, 3].isnan().any()


def test_a_size_never_met_before_compiles_nothing(torch_device, monkeypatch):
    check_stft(1085, 300, 3000, torch_device)
    check_stft(1218, 300, 3000, torch_device)
    compiled = []
    monkeypatch.setattr(dispatch, "compile_shader", lambda *_: compiled.append(1))
    check_stft(1087, 300, 3000, torch_device)  # odd, in 4096 points as well
    check_stft(1214, 300, 3000, torch_device)  # packed, in 2048
    assert not compiled


@pytest.mark.parametrize("n_fft", [15, 217, 813, 1218, 4093])
def test_results_do_not_depend_on_the_order_of_threads(n_fft):
    forward = StftGeometry(2, 3 * n_fft, n_fft, n_fft // 3, n_fft, n_fft // 2, "reflect", False)
    inverse = IstftGeometry(2, forward.frames, n_fft, n_fft // 3, n_fft, n_fft // 2, False, True, False, 2 * n_fft)
    signal, window, gradient = torch.randn(2, 3 * n_fft), torch.rand(n_fft) + 0.2, torch.randn(2, 2 * n_fft)
    spectrum = transforms.stft(signal, window, forward)

    def results():
        yield torch.view_as_real(transforms.stft(signal, window, forward))
        yield transforms.istft(spectrum, window, inverse)
        yield transforms.stft_adjoint(spectrum, window, forward)
        yield torch.view_as_real(transforms.istft_adjoint(gradient, window, inverse))

    expected = list(results())
    for seed in range(3):
        with simulator.test_mode(seed=seed), poisoned_outputs():
            assert all(map(torch.equal, results(), expected))


def test_complex_windows_whose_squares_cancel_are_left_to_torch(torch_device):
    window = torch.ones(16, dtype=torch.complex64, device=torch_device)
    window[8:] *= 1j
    spectrum = torch.randn(1, 16, 9, dtype=torch.complex64, device=torch_device)
    geometry = IstftGeometry(1, 9, 16, 8, 16, 8, False, False, False, 64)
    assert transforms.istft(spectrum, window, geometry, True) is None
    assert any_size.istft(spectrum, window, geometry, True) is None
