"""The patch among what a program does besides: default devices, views and autograd, little memory, changed windows."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import comparison, quarantine, verification
from mps_spectro_patch.reasons import Reason

STFT, ISTFT = torch.stft, torch.istft


@pytest.fixture
def strict(on):
    return {**on, "on_error": "raise", "on_fallback": "raise", "verify": "always"}


def test_a_default_device_does_not_reach_tables_and_comparisons(torch_device, strict):
    # A size of its own: tables that another test made would hide where they are made.
    x, window = torch.randn(2, 3000, device=torch_device), torch.hann_window(360, device=torch_device)
    before = torch.get_default_device()
    torch.set_default_device("meta")
    try:
        with msp.accelerated(**strict):
            spectrum = torch.stft(x, 360, 90, window=window, return_complex=True)
            again = torch.istft(spectrum, 360, 90, window=window, length=3000)
    finally:
        torch.set_default_device(before if before.type != "cpu" else None)
    torch.testing.assert_close(again, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_spectrum_is_no_view_and_can_be_changed_in_place_where_torchs_can(dimensions, signal, strict):
    x = signal.x if dimensions == 2 else signal.x[0]
    with torch.no_grad():
        with msp.accelerated(**strict):
            ours = torch.stft(x, 400, 160, window=signal.window, return_complex=True)
        theirs = STFT(x, 400, 160, window=signal.window, return_complex=True)
    assert ours._is_view() == theirs._is_view() and (ours._base is None) == (theirs._base is None)
    assert ours.stride() == theirs.stride()
    mask = torch.ones_like(ours.real).requires_grad_()
    ours *= mask
    ours.abs().sum().backward()
    assert mask.grad is not None


def test_rows_inside_one_another_keep_torchs_order_of_output(torch_device, on):
    x, window = torch.randn(91, 2, device=torch_device).t(), torch.rand(24, device=torch_device) + 0.1
    msp.reset_stats()
    with msp.accelerated(**on):
        ours = torch.stft(x, 24, 4, window=window, center=False, return_complex=True)
    assert ours.stride() == STFT(x, 24, 4, window=window, center=False, return_complex=True).stride()
    assert msp.stats()["stft"].fallback == {Reason.ORDER: 1} and not quarantine.plans


@pytest.mark.parametrize("op", ["stft", "istft"])
def test_too_little_memory_to_compare_is_nobodys_fault(op, signal, on, monkeypatch):
    def difference(*_, **__):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(comparison, "difference", difference)
    with msp.accelerated(**on):
        result = getattr(signal, op)()
    expected = signal.spectrum if op == "stft" else signal.x
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    assert not quarantine.plans


def test_a_window_that_gets_other_data_is_not_taken_for_the_old_one(signal, strict):
    window = signal.window.clone()
    with msp.accelerated(**{**strict, "verify": "off"}):
        torch.istft(signal.spectrum, 400, 160, window=window)
        window.data = torch.hamming_window(400, device=window.device)
        ours = torch.istft(signal.spectrum, 400, 160, window=window)
    torch.testing.assert_close(ours, ISTFT(signal.spectrum, 400, 160, window=window), rtol=1e-4, atol=1e-4)


def test_each_way_through_a_kernel_is_verified_by_itself(signal, on):
    verification.verified.clear()
    with msp.accelerated(**on):
        for hop_length in (160, 100, 161):
            torch.stft(signal.x, 400, hop_length, window=signal.window, return_complex=True)
        torch.stft(signal.x, 400, 160, 300, window=signal.window[:300], return_complex=True)
    assert len(verification.verified) == 3  # even hops share one


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need CUDA")
def test_a_size_first_met_in_a_capture_is_left_to_the_original():
    x, window = torch.randn(2, 4000, device="cuda"), torch.hann_window(280, device="cuda")
    STFT(x, 280, 70, window=window, return_complex=True)  # cuFFT makes its plan outside too
    msp.reset_stats()
    graph = torch.cuda.CUDAGraph()
    with msp.accelerated(devices=("cuda",)), torch.cuda.graph(graph):
        result = torch.stft(x, 280, 70, window=window, return_complex=True)
    graph.replay()
    torch.testing.assert_close(result, STFT(x, 280, 70, window=window, return_complex=True), rtol=1e-4, atol=1e-4)
    assert msp.stats()["stft"].fallback == {Reason.CAPTURE: 1} and not quarantine.plans
