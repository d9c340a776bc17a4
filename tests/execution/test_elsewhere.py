"""Calls with tensors on a device that is not accelerated: report() has their lines, so that a user sees why nothing is
faster. They are sampled, and go on as without this package."""

from __future__ import annotations

import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_sites
from mps_spectro_patch.patching import entry

STFT, ISTFT = torch.stft, torch.istft


@pytest.fixture
def elsewhere(device_name):
    """Options under which the device of the tests is not accelerated."""
    return dict(devices=("cuda" if device_name == "mps" else "mps",))


@pytest.fixture(autouse=True)
def _anew():
    msp.reset_stats()
    yield
    msp.disable()
    msp.reset_stats()


def made_by_a_method(signal):
    return signal.x.stft(400, 160, 400, signal.window, return_complex=True)


def given_by_name(signal):
    return torch.istft(input=signal.spectrum, n_fft=400, hop_length=160, window=signal.window)


@pytest.mark.parametrize("reach", ["attribute", "references"])
def test_the_report_has_every_line_of_the_first_calls(reach, signal, elsewhere):
    msp.enable(**elsewhere, reach=reach)
    for _ in range(3):
        signal.stft()
    signal.istft()
    made_by_a_method(signal)
    given_by_name(signal)
    rows = [(row.function.rpartition(".")[2], row.op, row.calls, row.outcome, row.estimated) for row in msp.report()]
    assert sorted(rows, key=str) == sorted([
        ("stft", "torch.stft", 3, "device", False), ("istft", "torch.istft", 1, "device", False),
        ("made_by_a_method", "torch.stft", 1, "device", False), ("given_by_name", "torch.istft", 1, "device", False),
    ], key=str)  # fmt: skip
    assert {row.device for row in msp.report()} == {str(signal.x.device)}
    assert all(row.place.partition(":")[0].endswith(".py") and row.seconds > 0 for row in msp.report())
    assert msp.stats()["stft"].fallback == {"device": 4} and msp.stats()["istft"].fallback == {"device": 2}
    text = str(msp.report())
    assert "to make it fast: move the input to an accelerated device" in text and "n_fft=400" in text
    assert "6 calls came with tensors on other devices: report() has their lines" in str(msp.status())


def test_many_calls_are_a_sample_and_few_are_looked_at(signal, elsewhere, monkeypatch):
    looked = []
    remember = call_sites._remember
    monkeypatch.setattr(call_sites, "_remember", lambda *given: looked.append(1) or remember(*given))
    monkeypatch.setattr(entry, "FIRST", 5), monkeypatch.setattr(entry, "EVERY", 10)
    monkeypatch.setattr(call_sites, "FIRST", 5), monkeypatch.setattr(call_sites, "EVERY", 10)
    msp.enable(**elsewhere)
    for _ in range(100):
        signal.stft()
    (row,) = msp.report()
    assert len(looked) == 5 + 10 and row.calls == 5 + 100 and row.estimated
    assert msp.stats()["stft"].fallback == {"device": 100}


def test_nothing_is_remembered_where_nothing_is_enabled_or_the_device_is_accelerated(signal, on):
    signal.stft()
    assert not len(msp.report()) and "other devices" not in str(msp.status())
    with msp.accelerated(**on):
        signal.stft()
    assert [row.outcome for row in msp.report()] == ["fast"]


def test_the_result_is_the_originals_and_so_are_errors_and_warnings(signal, elsewhere):
    msp.enable(**elsewhere)
    assert torch.equal(signal.stft(), STFT(signal.x, 400, 160, 400, signal.window, return_complex=True))
    for function, original, args in (
        (torch.stft, STFT, (signal.x, 400.0)),
        (torch.istft, ISTFT, (signal.spectrum, "400")),
    ):
        with pytest.raises(TypeError) as ours:
            function(*args)
        with pytest.raises(TypeError) as theirs:
            original(*args)
        assert str(ours.value) == str(theirs.value)
    with pytest.raises(TypeError):
        torch.istft(signal.spectrum, 400, unknown=1)
    assert {row.outcome for row in msp.report()} == {"device", "raised"}


def test_istfts_warnings_keep_their_line(signal, elsewhere):
    msp.enable(**elsewhere)
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.istft(signal.spectrum, 400, 160, window=signal.window, length=99_999)
    finally:
        torch.set_warn_always(False)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_failing_look_costs_no_call(signal, elsewhere, monkeypatch, caplog):
    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(call_sites, "_remember", fail)
    msp.enable(**elsewhere)
    assert signal.stft().dim() == 3 and "is missing in the report" in caplog.text


def test_a_new_start_of_counting_looks_at_the_first_calls_again(signal, elsewhere):
    msp.enable(**elsewhere)
    for _ in range(2):
        for _ in range(3):
            signal.stft()
        (row,) = msp.report()
        assert row.calls == 3
        msp.reset_stats()
