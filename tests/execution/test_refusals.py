"""Calls that were refused before go to the original after one look-up: right, counted and seen by reports."""

from __future__ import annotations

import pytest
import torch
from torch.overrides import TorchFunctionMode

import mps_spectro_patch as msp
from mps_spectro_patch import routing
from mps_spectro_patch.execution import call_cache, call_sites
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.reasons import FallbackError

N_FFT = 40_000  # no kernel has it, on any device


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """No call is looked at for report() because it is among the first."""
    assert not fft.supports(N_FFT)
    monkeypatch.setattr(call_sites, "FIRST", 0)
    yield
    call_cache.set_rule(None)


@pytest.fixture
def asked(monkeypatch):
    """The calls that routing decided."""
    calls, real = [], routing.decide
    monkeypatch.setattr(routing, "decide", lambda *given: calls.append(given) or real(*given))
    return calls


def stft(x, n_fft=N_FFT, **given):
    return torch.stft(x, n_fft, **{"window": torch.ones(n_fft, device=x.device), "return_complex": True, **given})


def istft(spectrum, n_fft=N_FFT, **given):
    return torch.istft(spectrum, n_fft, **{"window": torch.ones(n_fft, device=spectrum.device), **given})


@pytest.mark.parametrize("op", ["stft", "istft"])
def test_a_call_that_was_refused_before_is_not_decided_again(op, on, asked, torch_device):
    x = torch.randn(1, 90_000, device=torch_device)
    given, call = (x, stft) if op == "stft" else (stft(x), istft)
    expected = call(given)
    with msp.accelerated(**on):
        for _ in range(20):
            assert torch.equal(torch.view_as_real(call(given)) if op == "stft" else call(given),
                               torch.view_as_real(expected) if op == "stft" else expected)  # fmt: skip
    assert len(asked) == 1
    assert msp.stats()[op].fallback == {"n_fft": 20} and msp.stats()[op].fast == 0


def test_another_call_is_decided_by_itself(on, signal, torch_device):
    x = torch.randn(1, 90_000, device=torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            stft(x)
        assert signal.is_fast()
        stft(x, n_fft=400, hop_length=100)
    assert msp.stats()["stft"].fast == 2 and msp.stats()["stft"].fallback == {"n_fft": 3}


@pytest.mark.parametrize("wrong", [{"hop_length": 1000.0}, {"normalized": [2]}, {"window": "hann"}, {"pad_mode": []}])
def test_errors_stay_torchs_own(wrong, on, torch_device):
    x = torch.randn(1, 90_000, device=torch_device)
    with pytest.raises((TypeError, RuntimeError, AttributeError)) as theirs:
        stft(x, **{"hop_length": 1000, **wrong})
    with msp.accelerated(**on):
        for _ in range(3):
            stft(x, hop_length=1000)
        with pytest.raises(theirs.type) as ours:
            stft(x, **{"hop_length": 1000, **wrong})
    assert str(ours.value) == str(theirs.value)


def test_istft_tells_how_it_was_called(on, torch_device):
    spectrum = stft(torch.randn(1, 90_000, device=torch_device))
    with msp.accelerated(**on):
        for _ in range(3):
            istft(spectrum)
        with pytest.raises(TypeError, match="nonsense"):
            istft(spectrum, nonsense=1)


def test_who_asked_to_be_told_is_told_every_time(on, torch_device):
    x = torch.randn(1, 90_000, device=torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            stft(x)
    with msp.accelerated(**on, on_fallback="raise"):
        for _ in range(3):
            with pytest.raises(FallbackError, match="n_fft"):
                stft(x)
    assert msp.stats()["stft"].fallback == {"n_fft": 6}


def test_it_holds_only_where_the_op_is_wanted(on, torch_device):
    x = torch.randn(1, 90_000, device=torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            stft(x)
        with msp.accelerated(**on, ops=("istft",)):
            stft(x)
    assert msp.stats()["stft"].fallback == {"n_fft": 3}


def test_reports_count_every_call_and_reset_begins_anew(on, torch_device):
    x = torch.randn(1, 90_000, device=torch_device)
    with msp.accelerated(**on):
        stft(x)
        msp.reset_stats()
        for _ in range(4 * call_sites.EVERY + 1):
            stft(x)
        assert msp.stats()["stft"].fallback == {"n_fft": 4 * call_sites.EVERY + 1}
        (row,) = msp.report().rows
        assert row.outcome == "n_fft" and abs(row.calls - 4 * call_sites.EVERY) <= call_sites.EVERY
        call_cache.never["stft"].clear()
        stft(x)
        assert msp.stats()["stft"].fallback == {"n_fft": 4 * call_sites.EVERY + 2}
        msp.reset_stats()
        assert msp.stats()["stft"].calls == 0
        stft(x)
        assert msp.stats()["stft"].fallback == {"n_fft": 1}


def test_every_call_is_looked_at_on_request(on, torch_device):
    x = torch.randn(1, 90_000, device=torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            stft(x)
        msp.watch_calls()
        try:
            for _ in range(5):
                stft(x)
        finally:
            msp.watch_calls(False)
    assert sum(row.calls for row in msp.report().rows) == 5 and msp.stats()["stft"].fallback == {"n_fft": 8}


def test_a_function_mode_sees_the_call_and_not_our_look(on, torch_device):
    class Mode(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(getattr(function, "__name__", str(function)))
            return function(*args, **(kwargs or {}))

    x = torch.randn(1, 90_000, device=torch_device)
    window = torch.ones(N_FFT, device=torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            stft(x, window=window)
        seen: list[str] = []
        with Mode():
            stft(x, window=window)
        before = list(seen)
        call_cache.never["stft"].clear()
        seen.clear()
        with Mode():
            stft(x, window=window)
    # The shorter way looks at less of the tensor, and both make the one call.
    assert before.count("stft") == seen.count("stft") == 1
    assert before.count("__get__") < seen.count("__get__") and not set(before) - set(seen)


def small(op, device):
    """The least work: more than any call has."""
    return 10**12


@pytest.fixture
def tuned(on, signal):
    with msp.accelerated(**on):
        call_cache.set_rule(small)
        for _ in range(3):
            signal.stft()
        assert msp.stats()["stft"].fallback == {"tuned": 3} and len(call_cache.entries) == 1
        yield signal


def test_too_small_a_call_is_remembered_until_the_rule_changes(tuned, asked):
    tuned.stft()
    assert not asked and msp.stats()["stft"].fallback == {"tuned": 4}
    call_cache.set_rule(None)
    assert tuned.is_fast() and msp.stats()["stft"].fallback == {"tuned": 4}


def test_too_small_a_call_is_fast_where_a_gradient_is_wanted(tuned):
    tuned.x.requires_grad_()
    tuned.stft()
    assert msp.stats()["stft"].fast == 1
    with torch.no_grad():
        tuned.stft()
    assert msp.stats()["stft"].fast == 1
    tuned.x.requires_grad_(False)
    tuned.window.requires_grad_()
    tuned.stft()
    assert msp.stats()["stft"].fast == 2


def test_too_small_a_call_is_fast_in_a_batch_of_vmap(tuned):
    batch = tuned.x.expand(3, *tuned.x.shape).clone()
    torch.func.vmap(lambda x: torch.stft(x, 400, 160, 400, tuned.window, return_complex=True))(batch)
    assert msp.stats()["stft"].fast == 1


def test_callers_are_shown_to_those_who_look_for_lookalikes(tuned, monkeypatch):
    shown = []
    monkeypatch.setattr(call_sites, "observer", lambda frame: shown.append(frame.f_code.co_name))

    def somebody(call):
        return call()

    def stft():
        return torch.stft(tuned.x, 400, 160, 400, tuned.window, return_complex=True)

    somebody(stft)
    assert shown == ["stft"]
    for _ in range(2):
        tuned.istft()
    call_sites._introduced.clear()

    def istft():
        return torch.istft(tuned.spectrum, 400, 160, 400, tuned.window, length=tuned.x.shape[-1])

    somebody(istft)
    assert shown[-1] == "istft"


def test_callers_with_a_size_that_no_kernel_does_are_of_no_use_to_them(on, torch_device, monkeypatch):
    x = torch.randn(1, 90_000, device=torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            stft(x)
        shown = []
        monkeypatch.setattr(call_sites, "observer", lambda frame: shown.append(frame.f_code.co_name))
        call_sites._introduced.clear()
        stft(x)
        assert not shown
        stft(x, n_fft=400)
        assert shown == ["stft"]


@pytest.mark.parametrize("n_fft", [[N_FFT], float(N_FFT), torch.tensor(N_FFT), None])
def test_a_size_of_another_type_is_torchs_error(n_fft, on, torch_device):
    x = torch.randn(1, 90_000, device=torch_device)
    window = torch.ones(N_FFT, device=torch_device)
    outcomes = []
    for options in ({"devices": ()}, on):
        with msp.accelerated(**options):
            for _ in range(3):
                stft(x)
            try:
                outcomes.append(torch.stft(x, n_fft, 1000, window=window, return_complex=True).shape)
            except Exception as error:
                outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_float64_and_a_size_are_refused_by_themselves(on, torch_device, float64):
    x, window = torch.randn(2, 4000, device=torch_device), torch.ones(400, device=torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            torch.stft(x.double(), 400, window=window.double(), return_complex=True)
        assert list(call_cache.never["stft"]) == [torch.float64] and not call_cache.entries
        torch.stft(x, 400, window=window, return_complex=True)
        torch.stft(x[:, :999].double(), 256, window=window[:256].double(), return_complex=True)
    assert msp.stats()["stft"].fast == 1 and msp.stats()["stft"].fallback == {"dtype": 4}
