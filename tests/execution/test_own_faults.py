"""Steps of ours around a kernel may fail in any way: the call gives torch's result, with one warning."""

from __future__ import annotations

import gc
import warnings
import weakref

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import mps_spectro_patch as msp
from mps_spectro_patch import routing
from mps_spectro_patch.execution import call_cache, call_sites, counters, launches, quarantine, torch_warnings

STEPS = {
    "routing": (routing, "decide"),
    "the cache": (call_cache, "find"),
    "what no kernel does": (call_cache, "find_never"),
    "remembering": (call_cache, "remember"),
    "counting": (counters, "count"),
    "preparing": (launches, "prepare"),
}


def fails(*_, **__):
    raise IndexError("list index out of range")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_costs_one_warning(step, op, signal, on, monkeypatch):
    monkeypatch.setattr(*STEPS[step], fails)
    expected = signal.spectrum if op == "stft" else signal.x
    with msp.accelerated(**on):
        with pytest.warns(RuntimeWarning, match="IndexError: list index out of range") as seen:
            torch.testing.assert_close(getattr(signal, op)(), expected, rtol=1e-4, atol=1e-4)
        assert len(seen) == 1 and seen[0].filename.endswith("conftest.py")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.testing.assert_close(getattr(signal, op)(), expected, rtol=1e-4, atol=1e-4)
    assert bool(quarantine.plans) is (step == "preparing")  # which compiles


@pytest.mark.parametrize("step", STEPS)
def test_on_error_raise_shows_it(step, signal, on, monkeypatch):
    monkeypatch.setattr(*STEPS[step], fails)
    with msp.accelerated(**on, on_error="raise"), pytest.raises(IndexError):
        signal.stft()


def test_a_report_that_fails_costs_a_line_in_the_log(signal, on, monkeypatch, caplog):
    monkeypatch.setattr(call_sites, "_remember", fails)
    with msp.accelerated(**on):
        torch.testing.assert_close(signal.stft(), signal.spectrum, rtol=1e-4, atol=1e-4)
    assert "missing in the report" in caplog.text and msp.stats()["stft"].fast == 1


def test_an_observer_of_callers_that_fails_costs_one_warning(signal, on, monkeypatch):
    monkeypatch.setattr(call_sites, "observer", fails)
    call_sites._introduced.clear()
    with msp.accelerated(**on, compat=False), pytest.warns(RuntimeWarning, match="IndexError"):
        monkeypatch.setattr(call_sites, "observer", fails)
        torch.testing.assert_close(signal.stft(), signal.spectrum, rtol=1e-4, atol=1e-4)


def test_the_cache_of_front_ends_may_fail_too(signal, on, monkeypatch):
    module = msp.LogMelSpectrogramTransform(sample_rate=16000, n_fft=400, hop_length=100, n_mels=8).to(signal.x.device)
    with msp.accelerated(**on):
        expected = module(signal.x)
        monkeypatch.setattr(call_cache, "find_front_end", fails)
        with pytest.warns(RuntimeWarning, match="IndexError"):
            torch.testing.assert_close(module(signal.x), expected)


def test_warnings_that_are_errors_are_the_programs(signal, on, monkeypatch):
    def warn(notices):
        warnings.warn("torch's own", UserWarning, stacklevel=2)

    monkeypatch.setattr(torch_warnings, "give", warn)
    with msp.accelerated(**on, verify="off"), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="torch's own"):
            signal.stft()
    assert not quarantine.plans


@pytest.mark.parametrize("cause", ["torch", "ours"])
def test_an_error_keeps_no_tensor_alive(cause, torch_device, on, monkeypatch):
    """No circle of exception, traceback, frame and call: an input as large as the memory must go at once."""

    def lost() -> weakref.ref:
        x = torch.randn(2, 4000, device=torch_device)
        if cause == "ours":
            monkeypatch.setattr(routing, "decide", fails)
        try:
            torch.stft(x, 400, 160, window=torch.ones(399, device=torch_device), return_complex=True)
        except RuntimeError:
            pass
        return weakref.ref(x)

    gc.collect()
    gc.disable()
    try:
        with msp.accelerated(**on), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert lost()() is None
    finally:
        gc.enable()


def test_rows_of_vmap_without_centring(signal, on):
    def stft(row):
        return torch.stft(row, 400, 160, window=signal.window, center=False, return_complex=True)

    expected = stft(signal.x)
    with msp.accelerated(**on, on_error="raise"):
        torch.testing.assert_close(torch.func.vmap(stft)(signal.x), expected, rtol=1e-4, atol=1e-4)
    assert msp.stats()["stft"].fast == 1


def test_symbolic_sizes_are_shown_in_words(signal, on):
    def stft(x, window):
        return torch.stft(x, 400, 160, window=window, return_complex=True)

    with msp.accelerated(**on):
        graph = make_fx(stft, tracing_mode="symbolic")(signal.x, signal.window)
    torch.testing.assert_close(graph(signal.x, signal.window), signal.spectrum, rtol=1e-4, atol=1e-4)
    str(msp.report())
