"""Imaginary parts of the first and the last bin, which torch.istft is documented to ignore, and on some devices does
not: the fast path follows the documentation, and is not put aside for it."""

from __future__ import annotations

import logging

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import comparison
from tests.precision import wide

N_FFT, HOP = 64, 16


@pytest.fixture
def window(torch_device):
    return torch.hann_window(N_FFT, device=torch_device)


def spectrum_on(device, rows=2):
    return torch.randn(rows, N_FFT // 2 + 1, 40, dtype=torch.complex64, device=device)


def leaking(wrong_by):
    """torch.istft of a device that adds `wrong_by(spectrum)` to its result."""

    def istft(input, *args, **kwargs):
        return torch._VF.istft(input, *args, **kwargs) + wrong_by(input)

    return istft


def ends(spectrum):
    return 0.1 * (spectrum[..., 0, :].imag.mean() + spectrum[..., -1, :].imag.mean())


def call(spectrum, window, **options):
    return torch.istft(spectrum, N_FFT, HOP, None, window, **options)


def right(spectrum, window):
    exact = torch._VF.istft(wide(comparison.with_real_ends(spectrum.detach(), N_FFT)), N_FFT, HOP, None, wide(window))
    return exact.to(window)


@pytest.mark.parametrize("learns", [False, True])
def test_what_torch_documents_is_right_and_is_said_in_the_log(learns, window, on, torch_device, monkeypatch, caplog):
    monkeypatch.setattr(torch, "istft", leaking(ends))
    spectrum = spectrum_on(torch_device).requires_grad_(learns)
    with msp.accelerated(**on), caplog.at_level(logging.INFO, "mps_spectro_patch"):
        results = [call(spectrum, window) for _ in range(3)]
    for result in results:
        assert (result - right(spectrum, window)).norm() < 1e-6 * result.norm()
    stats = msp.stats()["istft"]
    assert (stats.fast, stats.verified, stats.fallback) == (3, 1, {})
    assert [record.levelname for record in caplog.records if "first and the last bin" in record.message] == ["INFO"]


@pytest.mark.parametrize("wrong_by", [
    lambda spectrum: 0.1 * spectrum[..., 1, :].imag.mean(),
    lambda spectrum: ends(spectrum) + 0.1 * spectrum[..., 0, :].real.mean(),
])  # fmt: skip
def test_any_other_difference_still_puts_a_plan_aside(wrong_by, window, on, torch_device, monkeypatch, falsify):
    """As seen from here the original is right, whatever it does."""
    spectrum = spectrum_on(torch_device)

    def original(input, *args, **kwargs):
        return torch._VF.istft(input, *args, **kwargs)

    monkeypatch.setattr(torch, "istft", original)
    falsify("istft", lambda signal: signal + wrong_by(spectrum))
    with msp.accelerated(**on), pytest.warns(RuntimeWarning, match="differs from the original"):
        result = call(spectrum, window)
    assert (result - right(spectrum, window)).norm() < 1e-6 * result.norm()
    assert msp.stats()["istft"].fallback == {"verification": 1}


@pytest.mark.parametrize("n_fft", [7, 8])
def test_only_the_ends_lose_their_imaginary_parts(n_fft):
    spectrum = torch.randn(2, n_fft // 2 + 1, 5, dtype=torch.complex64)
    before = spectrum.clone()
    cleaned = comparison.with_real_ends(spectrum.conj(), n_fft)
    assert torch.equal(spectrum, before)
    expected = before.conj().resolve_conj().clone()
    expected.imag[:, 0] = 0
    if n_fft == 8:
        expected.imag[:, -1] = 0
    assert torch.equal(cleaned, expected)
