"""stats(), status() and explain(): what they answer, that it prints well, and that explain() runs nothing."""

from __future__ import annotations

import threading

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.routing import Reason

STFT, ISTFT = torch.stft, torch.istft


def test_stats_count_fast_calls_and_fallbacks_by_reason(signal, on):
    with msp.accelerated(**on):
        signal.stft()
        signal.stft()
        signal.istft()
        with pytest.raises(RuntimeError, match="return_complex"):
            torch.stft(signal.x, 400, window=signal.window)
    stats = msp.stats()
    assert (stats["stft"].fast, stats["stft"].fallback, stats["stft"].calls) == (2, {"real_output": 1}, 3)
    assert (stats["istft"].fast, stats["istft"].fallback) == (1, {})
    assert "3 calls" in str(stats) and Reason.REAL_OUTPUT.words in str(stats)
    msp.reset_stats()
    assert msp.stats()["stft"].calls == 0 and stats["stft"].calls == 3


def test_calls_outside_every_scope_are_not_counted(signal):
    signal.stft()
    assert msp.stats()["stft"].calls == 0


def test_no_count_is_lost_with_threads(signal, on):
    msp.enable(**on)

    def work():
        for _ in range(50):
            signal.stft()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    msp.disable()
    assert msp.stats()["stft"].calls == 200


def test_status_names_what_is_patched_and_the_versions(on):
    assert msp.status().patched == {"stft": "not patched", "istft": "not patched"} and msp.status().options is None
    msp.enable(**on, ops=("stft",))
    status = msp.status()
    msp.disable()
    assert status.enabled and status.options.ops == ("stft",)
    assert status.patched == {"stft": "patched", "istft": "not patched"}
    assert status.versions["torch"] == torch.__version__
    assert "torch.stft: patched" in str(status) and msp.__version__ in str(status)


def test_explain_takes_everything_that_means_the_same_call(signal, on):
    arguments = dict(n_fft=400, hop_length=160, window=signal.window)
    forward = dict(arguments, return_complex=True)
    msp.enable(**on)
    routes = [
        msp.explain(torch.stft, signal.x, **forward),
        msp.explain(STFT, signal.x, **forward),
        msp.explain(torch.functional.stft, input=signal.x, **forward),
        msp.explain(torch.Tensor.stft, signal.x, **forward),
        msp.explain(signal.x.stft, **forward),
    ]
    assert all(route == routes[0] for route in routes) and routes[0].fast and routes[0].op == "stft"
    assert "fast" in str(routes[0]) and "n_fft=400" in str(routes[0])
    routes = [
        msp.explain(torch.istft, signal.spectrum, **arguments),
        msp.explain(ISTFT, signal.spectrum, **arguments),
        msp.explain(torch.Tensor.istft, signal.spectrum, **arguments),
        msp.explain(signal.spectrum.istft, **arguments),
    ]
    assert all(route == routes[0] for route in routes) and routes[0].fast and routes[0].op == "istft"
    msp.disable()


def test_explain_gives_the_reason_and_runs_nothing(signal, on, monkeypatch):
    from mps_spectro_patch import guard

    msp.enable(**on)
    monkeypatch.setattr(guard, "ops", None)  # any launch would fail
    route = msp.explain(torch.stft, signal.x, 400, window=signal.window)
    assert not route.fast and route.reason is Reason.REAL_OUTPUT and Reason.REAL_OUTPUT.words in str(route)
    assert msp.explain(torch.stft, signal.x, 400, window=signal.window, return_complex=True).fast
    assert msp.explain(torch.stft, signal.x).reason is Reason.ARGUMENT
    assert msp.stats()["stft"].calls == 0
    msp.disable()


def test_explain_uses_the_options_that_hold_here(signal, on):
    call = (torch.stft, signal.x, 400, 160, 400, signal.window, True, "reflect", False, None, True)
    if not signal.x.is_mps:
        route = msp.explain(*call)
        assert route.reason is Reason.DEVICE and "not enabled" in str(route)
    with msp.accelerated(**on):
        assert msp.explain(*call).fast and not msp.explain(*call).note
        with msp.accelerated(**on, ops=("istft",)):
            assert msp.explain(*call).reason is Reason.OP


def test_explain_of_anything_else_is_refused():
    with pytest.raises(ValueError, match="explain"):
        msp.explain(torch.fft.rfft, torch.zeros(3))


def test_every_reason_has_a_stable_name_and_a_sentence():
    for reason in Reason:
        assert reason == reason.value == str(reason) and reason.value.isidentifier() and len(reason.words) > 10
