"""Gradients of stft and istft, in one launch each, against torch's own in float64."""

import pytest
import torch

from mps_spectro_patch.kernels.launch import transforms
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import PAD_MODES, IstftGeometry, StftGeometry
from tests.conformance.sources import way_parts
from tests.tiers import one_of_each, some

from ..outputs import poisoned_outputs
from .reference import assert_accurate, assert_gradient_accurate

# One stage, odd half, parts of a simdgroup, several simdgroups, all three overlaps, split exchange.
SIZES = (16, 18, 50, 400, 1024, 2048, 2250, 4096, 6144, 8192)


def stft_gradients(
    rows, samples, n_fft, hop_length, device, win_length=None, center=True, pad_mode="reflect", normalized=False,
    onesided=True, dtype=torch.float32, ones=False, coherent=False,
):  # fmt: skip
    """Checks the gradients of signal and window for a random gradient of the spectrum. coherent: for the spectrum
    itself, as random terms that are added up to one number can leave as little as their rounding."""
    win_length = win_length or n_fft
    signal = torch.randn(rows, samples, device=device).to(dtype)
    window = torch.ones(win_length, device=device) if ones else torch.rand(win_length, device=device) + 0.1
    geometry = StftGeometry(
        rows, samples, n_fft, hop_length, win_length, n_fft // 2 if center else 0, pad_mode, normalized, onesided
    )
    x, w = signal.cpu().double().requires_grad_(), window.cpu().double().requires_grad_()
    reference = torch.functional.stft(
        x, n_fft, hop_length, win_length, w, center, pad_mode, normalized, onesided, return_complex=True
    )
    gradient = torch.randn(reference.shape, dtype=torch.complex64, device=device)
    if coherent:
        gradient = reference.detach().to(torch.complex64).to(device)
    if rows > 1:  # torch's memory order, and another
        gradient = gradient.transpose(1, 2).contiguous().transpose(1, 2)
    reference.backward(gradient.cpu().to(torch.complex128))
    with poisoned_outputs():
        assert_gradient_accurate(transforms.stft_adjoint(gradient, window, geometry), x.grad)
        assert_gradient_accurate(transforms.stft_window_gradient(gradient, signal, window, geometry), w.grad)


def istft_gradients(
    rows, frames, n_fft, hop_length, device, win_length=None, center=True, normalized=False, onesided=True,
    length=None, extra=0,
):  # fmt: skip
    win_length = win_length or n_fft
    bins = n_fft // 2 + 1 if onesided else n_fft
    reach = n_fft + hop_length * (frames - 1) - (n_fft // 2 if center else 0)
    length = length or reach - (n_fft // 2 if center else 0) + extra
    spectrum = torch.randn(rows, bins, frames, dtype=torch.complex64, device=device)
    window = torch.rand(win_length, device=device) + 0.2
    geometry = IstftGeometry(
        rows, frames, n_fft, hop_length, win_length, n_fft // 2 if center else 0, normalized, onesided, False, length
    )
    s = spectrum.cpu().to(torch.complex128).requires_grad_()
    w = window.cpu().double().requires_grad_()
    reference = torch._VF.istft(s, n_fft, hop_length, win_length, w, center, normalized, onesided, length, False)
    gradient = torch.randn(reference.shape, device=device)
    reference.backward(gradient.cpu().double())
    with poisoned_outputs():
        assert_accurate(transforms.istft(spectrum, window, geometry), reference.detach())
        assert_gradient_accurate(transforms.istft_adjoint(gradient, window, geometry), s.grad)
        assert_gradient_accurate(transforms.istft_window_gradient(gradient, spectrum, window, geometry), w.grad)


@pytest.mark.parametrize("n_fft", one_of_each(SIZES, lambda n: way_parts(fft.istft_plan(n))))
def test_stft(n_fft, torch_device):
    stft_gradients(2, 5 * n_fft + 3, n_fft, n_fft // 4, torch_device)
    stft_gradients(1, 4 * n_fft, n_fft, n_fft // 3 | 1, torch_device, center=False)


@pytest.mark.parametrize("pad_mode", sorted(PAD_MODES))
@pytest.mark.parametrize("n_fft", some([16, 400, 2250, 6144], [16, 400, 2250]))
def test_stft_next_to_every_padding(n_fft, pad_mode, torch_device):
    pad = n_fft // 2
    for samples in (pad + 1, pad + 2, n_fft - 1, n_fft, n_fft + 1, n_fft + 2, n_fft + 3, 2 * n_fft, 3 * n_fft + 1):
        for hop_length in (n_fft // 4, n_fft // 3 | 1, n_fft):
            stft_gradients(2, samples, n_fft, hop_length, torch_device, pad_mode=pad_mode)


@pytest.mark.parametrize("pad_mode", ["replicate", "constant"])
@pytest.mark.parametrize("samples", [1, 2, 31])
def test_stft_of_signals_shorter_than_the_padding(pad_mode, samples, torch_device):
    # So few numbers, so many rows.
    stft_gradients(64, samples, 400, 100, torch_device, pad_mode=pad_mode, coherent=samples < 3)


@pytest.mark.parametrize("n_fft", [16, 400, 1024, 4096])
def test_rectangular_windows_where_the_signal_ends_with_a_hop(n_fft, torch_device):
    """The sample T - 1 - pad is the last that reflection meets: with a rectangular window an error there shows."""
    for samples in (3 * n_fft, 3 * n_fft + n_fft // 4):
        stft_gradients(1, samples, n_fft, n_fft // 4, torch_device, ones=True)


@pytest.mark.parametrize("hop_length", [1, 2, 3, 99, 160, 401, 1000])
@pytest.mark.parametrize("center", [True, False])
def test_stft_with_any_hop(hop_length, center, torch_device):
    stft_gradients(2, 1601, 400, hop_length, torch_device, center=center)


def test_stft_with_a_hop_longer_than_the_transform_leaves_zeros_between_frames(torch_device):
    for n_fft in (400, 2250, 6144):
        stft_gradients(2, 4 * n_fft + 1, n_fft, n_fft + 7, torch_device)


def test_stft_of_long_signals(torch_device):
    stft_gradients(1, 70_001, 1024, 256, torch_device)  # MPS's own padding is wrong from 65,537 samples on
    stft_gradients(2, 66_000, 4096, 1024, torch_device)


@pytest.mark.parametrize("onesided", [True, False])
@pytest.mark.parametrize("n_fft", [16, 18, 400, 1024, 6144])
def test_stft_two_sided_normalized_and_with_a_short_window(n_fft, onesided, torch_device):
    stft_gradients(2, 3 * n_fft, n_fft, n_fft // 4, torch_device, n_fft // 2 + 1, normalized=True, onesided=onesided)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_window_gradient_of_half_signals(dtype, torch_device):
    stft_gradients(2, 2000, 400, 100, torch_device, dtype=dtype)


@pytest.mark.parametrize("n_fft", one_of_each(SIZES, lambda n: way_parts(fft.stft_plan(n))))
def test_istft(n_fft, torch_device):
    istft_gradients(2, 11, n_fft, n_fft // 4, torch_device)
    istft_gradients(1, 5, n_fft, n_fft // 3 | 1, torch_device, center=False)


@pytest.mark.parametrize("n_fft", [16, 18, 400, 1024, 6144])
@pytest.mark.parametrize("onesided", [True, False])
def test_istft_two_sided_normalized_and_with_a_short_window(n_fft, onesided, torch_device):
    istft_gradients(2, 9, n_fft, n_fft // 8, torch_device, n_fft - 3, normalized=True, onesided=onesided)


@pytest.mark.parametrize("n_fft", [16, 400, 2250, 6144])
def test_istft_of_one_frame_and_of_other_lengths(n_fft, torch_device):
    istft_gradients(1, 1, n_fft, n_fft // 4, torch_device, center=False)
    istft_gradients(2, 1, n_fft, n_fft // 4, torch_device, length=n_fft // 2)
    for length in (n_fft // 3, n_fft, 4 * n_fft):
        istft_gradients(2, 40, n_fft, n_fft // 4, torch_device, length=length)


@pytest.mark.parametrize("n_fft", [16, 400, 2250, 6144])
@pytest.mark.parametrize("center", [True, False])
def test_istft_longer_than_its_frames_reach_is_zero_there(n_fft, center, torch_device):
    istft_gradients(2, 9, n_fft, n_fft // 4, torch_device, center=center, extra=n_fft + 5)
