"""The baseline that is built again from the seed's description computes what torch does, on the suite's device."""

from __future__ import annotations

import pytest
import torch

from mps_spectro_patch.bench import seed_approach
from tests.conformance.checker import check

SHAPES = [(2, 1203, 400, 160), (1, 900, 512, 128), (3, 1000, 211, 50)]


@pytest.fixture
def signal(torch_device):
    def make(rows: int, samples: int, n_fft: int) -> tuple:
        x, window = torch.randn(rows, samples), torch.hann_window(n_fft)
        return x.to(torch_device), window.to(torch_device), x.double(), window.double()

    return make


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(("rows", "samples", "n_fft", "hop"), SHAPES)
def test_stft_is_torchs_in_float64(rows, samples, n_fft, hop, normalized, signal):
    x, window, wide, wide_window = signal(rows, samples, n_fft)
    got = seed_approach.stft(x, n_fft, hop, window, normalized).cpu()
    want = torch.functional.stft(wide, n_fft, hop, window=wide_window, normalized=normalized, return_complex=True)
    assert got.shape == want.shape and got.is_contiguous()
    assert (got - want).norm() / want.norm() < 3e-7


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(("rows", "samples", "n_fft", "hop"), SHAPES)
def test_istft_is_torchs_in_float64(rows, samples, n_fft, hop, normalized, signal, torch_device):
    _, window, wide, wide_window = signal(rows, samples, n_fft)
    options = dict(window=wide_window, normalized=normalized)
    spectrum = torch.functional.stft(wide, n_fft, hop, return_complex=True, **options)
    spectrum = spectrum * torch.rand(spectrum.shape)  # of no signal: what overlaps disagrees
    want = torch._VF.istft(spectrum, n_fft, hop, n_fft, wide_window, True, normalized, None, samples - 7)
    given = spectrum.to(torch.complex64).to(torch_device)
    got = seed_approach.istft(given, n_fft, hop, window, samples - 7, normalized).cpu()
    assert got.shape == want.shape and (got - want).norm() / want.norm() < 3e-7


def test_its_metal_text_is_metal():
    assert check(seed_approach._TEXT.read_text()).findings == []
