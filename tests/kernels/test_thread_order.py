"""Our kernels with the threads of a group in any order and poisoned memory: a missing barrier would show here."""

import pytest
import torch

from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import dispatch, smooth_size, transforms
from mps_spectro_patch.kernels.plans.geometry import IstftGeometry, StftGeometry

from ..outputs import poisoned_outputs

# Every kind of plan: one stage, parts of a simdgroup, mirrored, several simdgroups, split exchange; all three overlaps.
SIZES = (16, 18, 50, 400, 512, 1000, 1024, 2048, 2250, 4096, 6144, 8192)


@pytest.mark.parametrize("n_fft", SIZES)
@pytest.mark.parametrize("division", [2, 3])
def test_results_do_not_depend_on_the_order_of_threads(n_fft, division):
    rows, samples, hop_length = 2, 3 * n_fft + 1, n_fft // division
    signal, window = torch.randn(rows, samples), torch.rand(n_fft) + 0.2
    forward = StftGeometry(rows, samples, n_fft, hop_length, n_fft, n_fft // 2, "reflect", False)
    inverse = IstftGeometry(rows, forward.frames, n_fft, hop_length, n_fft, n_fft // 2, False, True, False, 2 * n_fft)
    spectrum = transforms.stft(signal, window, forward)
    again = transforms.istft(spectrum, window, inverse)
    for seed in range(4):
        with simulator.test_mode(seed=seed), poisoned_outputs():
            assert torch.equal(
                torch.view_as_real(transforms.stft(signal, window, forward)), torch.view_as_real(spectrum)
            )
            assert torch.equal(transforms.istft(spectrum, window, inverse), again)


@pytest.mark.parametrize("n_fft", (16, 50, 1024, 2250, 4096, 8192))
@pytest.mark.parametrize("pad_mode", ["reflect", "replicate", "circular"])
def test_nor_do_gradients(n_fft, pad_mode):
    rows, samples, hop_length = 2, 3 * n_fft + 1, n_fft // 3
    signal, window = torch.randn(rows, samples), torch.rand(n_fft) + 0.2
    forward = StftGeometry(rows, samples, n_fft, hop_length, n_fft, n_fft // 2, pad_mode, False)
    inverse = IstftGeometry(rows, forward.frames, n_fft, hop_length, n_fft, n_fft // 2, False, True, False, 2 * n_fft)
    spectrum = torch.randn(rows, forward.bins, forward.frames, dtype=torch.complex64)
    gradient = torch.randn(rows, 2 * n_fft)

    def gradients():
        yield transforms.stft_adjoint(spectrum, window, forward)
        yield torch.view_as_real(transforms.istft_adjoint(gradient, window, inverse))
        yield transforms.stft_window_gradient(spectrum, signal, window, forward)
        yield transforms.istft_window_gradient(gradient, spectrum, window, inverse)

    expected = list(gradients())
    for seed in range(3):
        with simulator.test_mode(seed=seed), poisoned_outputs():
            assert all(map(torch.equal, gradients(), expected))


@pytest.mark.parametrize("kind", ["stft", "istft"])
@pytest.mark.parametrize("n_fft", [1024, 4096])
def test_without_its_barriers_a_kernel_is_caught(n_fft, kind, monkeypatch):
    """The check above can fail: here barriers are taken out of the very same text."""
    rows, samples, hop_length = 2, 3 * n_fft + 1, n_fft // 4
    signal, window = torch.randn(rows, samples), torch.rand(n_fft) + 0.2
    forward = StftGeometry(rows, samples, n_fft, hop_length, n_fft, n_fft // 2, "reflect", False)
    inverse = IstftGeometry(rows, forward.frames, n_fft, hop_length, n_fft, n_fft // 2, False, True, False, 2 * n_fft)
    spectrum = transforms.stft(signal, window, forward)
    right = spectrum if kind == "stft" else transforms.istft(spectrum, window, inverse)

    def without_barriers(source, device):
        return simulator.compile_shader(source.replace("#define MSP_SYNC() ", "#define MSP_SYNC() //"))

    monkeypatch.setattr(dispatch, "compile_shader", without_barriers)
    caches = dispatch.kernel, smooth_size._forward_recipe, smooth_size._inverse_recipe
    for cache in caches:
        cache.cache_clear()
    try:
        with simulator.test_mode(seed=1):
            run = (transforms.stft, signal, forward) if kind == "stft" else (transforms.istft, spectrum, inverse)
            wrong = run[0](run[1], window, run[2])
    finally:
        for cache in caches:
            cache.cache_clear()
    assert not torch.allclose(wrong, right, rtol=1e-3, atol=1e-3, equal_nan=False)
