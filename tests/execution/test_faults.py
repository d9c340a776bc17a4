"""Faults at every depth: the right result through the original, with one warning, and never an error of ours."""

from __future__ import annotations

import functools
import itertools
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import launches, quarantine
from mps_spectro_patch.kernels.launch import any_size, dispatch, smooth_size
from mps_spectro_patch.kernels.launch import transforms as launch_transforms

from ..outputs import TorchWithoutMemory

STFT, ISTFT = torch.stft, torch.istft
# Sizes that no other test uses: a kernel that is compiled once is not compiled again.
_sizes = itertools.count(2 * 3**5 + 2, 2)


def raises(error: BaseException):
    def raising(*_, **__):
        raise error

    return raising


def launches_that_fail(*_, **__):
    return raises(RuntimeError("command buffer exited with error status"))


FAULTS = {
    "compile error": ("compile_shader", raises(SyntaxError("program_source:12:3: error: unknown type name"))),
    "missing API": ("compile_shader", raises(RuntimeError("torch.mps.compile_shader needs torch 2.7 or newer"))),
    "no such kernel in the library": ("compile_shader", lambda *_: object()),
    "kernel sources that vanished": ("_read", raises(FileNotFoundError("stft.metal"))),
    "launch error": ("recipe", launches_that_fail),
    "out of memory": ("torch", TorchWithoutMemory(torch.OutOfMemoryError("MPS backend out of memory"))),
    "nothing written": ("recipe", lambda *_, **__: lambda *tensors: [t.zero_() for t in tensors[-1:]]),
    "NaN": ("recipe", lambda *_, **__: lambda *tensors: [t.fill_(float("nan")) for t in tensors[-1:]]),
}
PASSING = ("out of memory",)


@pytest.fixture(params=FAULTS)
def fault(request, monkeypatch):
    """One of the faults, injected below the operators. What was made of broken parts is forgotten afterwards."""
    name, replacement = FAULTS[request.param]
    for cached in (dispatch.kernel, dispatch._read):
        cached.cache_clear()
    module = dispatch
    monkeypatch.setattr(module, name, replacement)
    for family in (smooth_size, any_size):
        if hasattr(family, name):
            monkeypatch.setattr(family, name, replacement)
    yield request.param
    monkeypatch.undo()
    for family in (smooth_size, any_size):
        for function in vars(family).values():
            if hasattr(function, "cache_clear") and function.__module__ == family.__name__:
                function.cache_clear()
    dispatch.kernel.cache_clear()


def calls(op, x, n_fft):
    """(the call, what it must give) of a size of its own."""
    window = torch.hann_window(n_fft, device=x.device)
    spectrum = STFT(x, n_fft, 100, window=window, return_complex=True)
    if op == "stft":
        return lambda: torch.stft(x, n_fft, 100, window=window, return_complex=True), spectrum
    return lambda: torch.istft(spectrum, n_fft, 100, window=window), ISTFT(spectrum, n_fft, 100, window=window)


@pytest.mark.parametrize("reach", ["attribute", "dispatcher"])
@pytest.mark.parametrize("op", ["stft", "istft"])
def test_every_fault_gives_the_originals_result_and_one_warning(op, reach, fault, signal, on):
    call, expected = calls(op, signal.x, next(_sizes))
    with msp.accelerated(**on, reach=reach):
        with pytest.warns(RuntimeWarning, match="mps_spectro_patch") as seen:
            torch.testing.assert_close(call(), expected)
        assert len(seen) == 1 and seen[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.testing.assert_close(call(), expected)
    assert msp.stats()[op].fast == 0
    assert bool(quarantine.plans) is (fault not in PASSING)
    assert len(msp.status().quarantined) == len(quarantine.plans)


def test_an_operator_that_cannot_even_be_loaded_is_an_error_of_enable_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(launches, "load_operators", raises(ImportError("no operators")))
    for enter in (msp.enable, msp.accelerated().__enter__):
        with pytest.raises(ImportError, match="no operators"):
            enter()
    assert torch.stft is STFT and not msp.is_enabled()


def test_a_fault_in_the_gradient_is_found_by_the_first_call_that_needs_one(signal, on, monkeypatch):
    for name in ("stft_adjoint", "ready_stft_adjoint"):
        monkeypatch.setattr(launch_transforms, name, raises(RuntimeError("no adjoint")))
    gradients = []
    for stft in (torch.stft, STFT):
        x = signal.x.clone().requires_grad_()
        with msp.accelerated(**on), warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            result = stft(x, 400, 160, 400, signal.window, return_complex=True)
        result.abs().square().sum().backward()
        gradients.append(x.grad)
        assert len(seen) == (stft is not STFT)
    torch.testing.assert_close(*gradients)


def test_a_probe_that_turns_one_exception_into_the_cpu_for_ever_sees_none(fault, signal, on):
    """As audio-separator's device_utils."""

    @functools.lru_cache
    def should_fall_back_to_cpu(n_fft):
        try:
            x, window = torch.zeros(1, 4096, device=signal.x.device), torch.hann_window(n_fft, device=signal.x.device)
            spectrum = torch.stft(x, n_fft, n_fft // 4, window=window, return_complex=True)
            torch.istft(spectrum, n_fft, n_fft // 4, window=window, length=4096)
            return False
        except Exception:
            return True

    msp.enable(**on)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert should_fall_back_to_cpu(next(_sizes)) is False
    msp.disable()


def test_a_library_whose_fast_function_calls_torch_again_does_not_recurse(signal, on, float64):
    """As mps_spectro's for small inputs, and with its function put in torch's place by somebody."""
    calls, own = [], torch.stft

    def theirs(x, *args, **kwargs):
        calls.append(x.dtype)
        return torch.stft(x, *args, **kwargs) if x.dtype is torch.float32 else own(x, *args, **kwargs)

    with msp.accelerated(**on):
        theirs(signal.x, 400, 160, window=signal.window, return_complex=True)
        assert msp.stats()["stft"].fast == 1
    torch.stft = theirs
    try:
        with msp.accelerated(**on):
            torch.stft(signal.x, 400, 160, window=signal.window, return_complex=True)
            torch.stft(signal.x.double(), 400, window=signal.window.double(), return_complex=True)
        assert torch.stft is theirs
    finally:
        torch.stft = own
    assert calls == [torch.float32, torch.float64]  # the second call of the first was ours, verified before


def test_our_kernels_and_comparisons_call_no_patched_function(signal, on, monkeypatch):
    entered = []
    for name in ("stft", "istft"):
        own = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, own=own, **k: entered.append(1) or own(*a, **k))
    with msp.accelerated(**on, verify="always", on_fallback="raise"):
        ours = torch.stft, torch.istft
        monkeypatch.setattr(torch, "stft", lambda *a, **k: entered.append(2) or ours[0](*a, **k))
        monkeypatch.setattr(torch, "istft", lambda *a, **k: entered.append(2) or ours[1](*a, **k))
        x = signal.x.clone().requires_grad_()
        spectrum = ours[0](x, 400, 160, 400, signal.window, return_complex=True)
        ours[1](spectrum, 400, 160, 400, signal.window).sum().backward()
    monkeypatch.undo()
    assert 2 not in entered and entered.count(1) == 2  # once each, for the comparison
