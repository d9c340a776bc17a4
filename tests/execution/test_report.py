"""stats(), status() and explain(): what they answer, that it prints well, and that explain() runs nothing."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.reasons import Reason

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


def test_no_count_is_lost_with_threads(signal, on, threads):
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
    from mps_spectro_patch.execution import launches

    msp.enable(**on)
    monkeypatch.setattr(launches, "ops", None)  # any launch would fail
    route = msp.explain(torch.stft, signal.x, 400, window=signal.window)
    assert not route.fast and route.reason is Reason.REAL_OUTPUT and Reason.REAL_OUTPUT.words in str(route)
    assert msp.explain(torch.stft, signal.x, 400, window=signal.window, return_complex=True).fast
    assert msp.explain(torch.stft, signal.x).reason is Reason.ARGUMENT
    assert msp.stats()["stft"].calls == 0
    msp.disable()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_explain_tells_of_windows_that_leave_gaps(dtype, signal, on, monkeypatch):
    from mps_spectro_patch.kernels.launch import dispatch

    sided = dict(return_complex=True, onesided=False) if dtype is torch.complex64 else {}
    spectrum = signal.spectrum if not sided else torch.randn(2, 400, 26, dtype=dtype, device=signal.x.device)
    hann, ones = signal.window.to(dtype), torch.ones(400, dtype=dtype, device=signal.x.device)
    gaps = torch.cat([ones[:100], 0 * ones[:300]])
    calls = {
        "no centre": (dict(window=hann, center=False), False), "constant": (dict(window=ones, center=False), True),
        "a hop as long as the window": (dict(window=hann, hop_length=400), False), "gaps": (dict(window=gaps), False),
        "centre": (dict(window=hann), True), "too long": (dict(window=hann, length=9000), True),
    }  # fmt: skip
    if not sided:
        calls["none"] = dict(window=None, center=False), True
    for name, (given, fine) in calls.items():
        given = {"hop_length": 160, **given, **sided}
        with msp.accelerated(**on):
            with monkeypatch.context() as nothing:
                nothing.setattr(dispatch, "recipe", None)
                route = msp.explain(torch.istft, spectrum, 400, **given)
            msp.reset_stats()
            try:
                torch.istft(spectrum, 400, **given)
            except RuntimeError as error:
                assert "window overlap add min" in str(error)
            assert route.fast is bool(msp.stats()["istft"].fast) is fine, (name, route)
            if not fine:
                assert route.reason is Reason.NOLA and "zero nowhere" in str(route) and route.work is None
                assert msp.stats()["istft"].fallback == {"nola": 1}


def test_explain_of_tensors_without_values_says_what_their_kind_allows(on, torch_device):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), msp.accelerated(**on):
        spectrum = torch.zeros(2, 201, 26, dtype=torch.complex64, device=torch_device)
        assert msp.explain(torch.istft, spectrum, 400, 160, window=torch.zeros(400, device=torch_device)).fast


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


def rows_of(table, outcome):
    return [row for row in table if row.outcome == outcome]


def test_stats_tell_verifications_errors_and_on_request_times(signal, on, falsify):
    with msp.accelerated(**on):
        signal.stft()
        signal.istft()
        assert msp.stats()["stft"].seconds == {}
        msp.watch_calls()
        try:
            signal.stft()
            falsify("stft", lambda spectrum: spectrum * 2)
            with pytest.warns(RuntimeWarning):
                torch.stft(signal.x, 512, window=torch.ones(512, device=signal.x.device), return_complex=True)
            falsify("stft", lambda _: 1 / 0)
            with pytest.warns(RuntimeWarning):
                torch.stft(signal.x, 256, window=torch.ones(256, device=signal.x.device), return_complex=True)
        finally:
            msp.watch_calls(False)
    stats = msp.stats()
    assert (stats["stft"].verified, stats["stft"].differed, stats["stft"].errors) == (1, 1, 1)
    assert stats["istft"].verified == 1
    assert set(stats["stft"].seconds) == {"fast", "verification", "error"} and min(stats["stft"].seconds.values()) > 0
    assert "1 right, 1 wrong; 1 errors caught" in str(stats) and " s\n" in str(stats)
    msp.reset_stats()
    assert msp.stats()["stft"].verified == 0 and msp.stats()["stft"].seconds == {} and not len(msp.report())


def test_report_tells_calls_by_the_line_they_came_from(signal, on, float64):
    with msp.accelerated(**on):
        for _ in range(3):
            signal.stft()
        signal.istft()
        torch.stft(signal.x.double(), 400, window=signal.window.double(), return_complex=True)
    table = msp.report()
    fast = {row.op: row for row in rows_of(table, "fast")}
    (other,) = rows_of(table, "dtype")
    assert fast["torch.stft"].calls == 3 and fast["torch.stft"].function.endswith("stft")
    assert "conftest.py:" in fast["torch.stft"].place and "2x4000 float32, n_fft=400" in fast["torch.stft"].arguments
    assert fast["torch.istft"].device == str(signal.x.device) and "length=4000" in fast["torch.istft"].arguments
    assert "test_report.py:" in other.place and other.function == "test_report_tells_calls_by_the_line_they_came_from"
    assert [row.calls for row in table] == [3, 1, 1]
    for word in ("conftest.py", "n_fft=400", "fast", "dtype", Reason.DTYPE.words):
        assert word in str(table)


def test_calls_that_torch_itself_refuses_are_told_as_such(signal, on):
    with msp.accelerated(**on), pytest.raises(RuntimeError):
        torch.stft(signal.x, 400, window=signal.window)
    assert len(rows_of(msp.report(), "raised")) == 1


def test_the_sample_costs_little_and_estimates_what_it_did_not_look_at(signal, on):
    with msp.accelerated(**on):
        for _ in range(1000):
            torch.stft(signal.x[:, :400], 16, 200, window=signal.window[:16], center=False, return_complex=True)
    (row,) = msp.report()
    assert row.estimated and 900 <= row.calls <= 1100 and "~" in str(msp.report())


def test_every_call_on_request_also_where_nothing_is_accelerated(signal, on):
    msp.watch_calls()
    try:
        with msp.accelerated(**on):
            for _ in range(300):
                torch.stft(signal.x[:, :400], 16, 200, window=signal.window[:16], center=False, return_complex=True)
            torch.stft(signal.x.to("meta"), 400, window=signal.window.to("meta"), return_complex=True)
    finally:
        msp.watch_calls(False)
    (row,) = rows_of(msp.report(), "fast")
    assert row.calls == 300 and not row.estimated and row.seconds > 0
    assert len(rows_of(msp.report(), "device")) == 1 and msp.stats()["stft"].fallback[Reason.DEVICE] == 1


def test_lines_beyond_the_limit_are_counted_together(signal, on, monkeypatch):
    from mps_spectro_patch.execution import call_sites

    monkeypatch.setattr(call_sites, "SITES_MAX", 2)
    with msp.accelerated(**on):
        for n_fft in (16, 32, 64, 128):
            torch.stft(signal.x, n_fft, window=signal.window[:n_fft], return_complex=True)
    assert len(msp.report()) == 2 and msp.report().left_out == 2 and "2 calls from other lines" in str(msp.report())


def test_the_table_is_printed_by_rich_where_it_is_and_plainly_where_not(signal, on, monkeypatch):
    import io
    import sys

    with msp.accelerated(**on):
        signal.stft()
    monkeypatch.setitem(sys.modules, "rich.console", None)
    plain = io.StringIO()
    msp.report().print(plain)
    assert plain.getvalue() == f"{msp.report()}\n"
    monkeypatch.undo()
    printed = io.StringIO()
    msp.report().print(printed)
    assert "conftest.py" in printed.getvalue() and "│" in printed.getvalue()


def test_enable_returns_what_it_patched_and_what_not_and_why(on):
    patched = msp.enable(devices=(*on["devices"], "cuda"), ops=("stft",), compat=False)
    msp.disable()
    assert patched.patched == ("torch.stft",) and patched.options.ops == ("stft",)
    skipped = dict(patched.skipped)
    assert skipped["torch.istft"] == "not among the ops"
    if not torch.cuda.is_available():
        assert skipped["cuda"] == "there is no such device here"
    assert "patched: torch.stft" in str(patched) and "not patched: torch.istft: not among the ops" in str(patched)


def test_nothing_is_printed_by_default(run_python):
    assert run_python("import mps_spectro_patch as msp; msp.enable(devices=devices); magnitude(x); msp.report()") == ""


def test_explain_tells_the_plan_and_the_work(signal, on):
    with msp.accelerated(**on):
        work = msp.explain(torch.stft, signal.x, 400, 160, window=signal.window, return_complex=True).work
        assert work.family == "real" and work.launches == 1
        product = 1
        for radix in work.radices:
            product *= radix
        assert product == 200 and work.threads == work.lanes * work.frames <= 1024
        assert 0 < work.threadgroup_bytes <= 32_768
        assert work.bytes_read == 2 * 4000 * 4 + 400 * 4 and work.bytes_written == signal.spectrum.numel() * 8
        inverse = msp.explain(torch.istft, signal.spectrum, 400, 160, window=signal.window, length=3000).work
        assert inverse.bytes_read == signal.spectrum.numel() * 8 + 400 * 4 and inverse.bytes_written == 2 * 3000 * 4
        odd = msp.explain(torch.stft, signal.x, 211, 50, return_complex=True)
        assert odd.work.family == "general" and odd.work.bluestein == 211 and "Bluestein" in str(odd)
        assert f"{inverse.threadgroup_bytes} bytes of threadgroup memory" in str(inverse)


def test_the_launches_that_explain_tells_are_made(signal, on, monkeypatch):
    from mps_spectro_patch.kernels.launch import dispatch

    made = []
    real = dispatch.recipe

    def counted(*args, **kwargs):
        run = real(*args, **kwargs)
        return lambda *tensors: made.append(1) or run(*tensors)

    monkeypatch.setattr(dispatch, "recipe", counted)
    window = torch.rand(218, device=signal.x.device) + 0.1  # a size that no other test has used
    with msp.accelerated(**on, verify="off", on_fallback="raise"):
        for n_fft in (218, 210):
            arguments = (n_fft, 50, None, window[:n_fft])
            work = msp.explain(torch.stft, signal.x, *arguments, return_complex=True).work
            spectrum = torch.stft(signal.x, *arguments, return_complex=True)
            assert len(made) == work.launches
            work = msp.explain(torch.istft, spectrum, *arguments).work
            torch.istft(spectrum, *arguments)
            assert len(made) == 1 + work.launches
            made.clear()


def test_explain_says_what_would_have_to_change(signal, on, float64):
    with msp.accelerated(**on):
        route = msp.explain(torch.stft, signal.x.double(), 400, return_complex=True)
        assert route.reason is Reason.DTYPE and "x.float()" in route.advice and route.advice in str(route)
        assert msp.explain(torch.stft, signal.x.double().float(), 400, return_complex=True).fast
        assert msp.explain(torch.stft, signal.x).advice and not msp.explain(torch.stft, signal.x, 400).fast


def test_there_is_advice_for_every_reason_and_the_docs_list_both():
    from pathlib import Path

    from mps_spectro_patch.reasons import ADVICE

    text = (Path(__file__).parents[2] / "docs" / "reasons.md").read_text(encoding="utf-8")
    listed = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `")]
    assert [[cell.strip() for cell in row] for row in listed] == [
        [f"`{reason}`", reason.words.replace("|", "\\|"), ADVICE[reason].replace("|", "\\|")] for reason in Reason
    ]


def test_no_module_has_the_name_of_a_public_function():
    """Importing it would put the module in the function's place."""
    import importlib.util

    for name in set(msp.__all__) - {"kernels", "__version__"}:
        assert importlib.util.find_spec(f"mps_spectro_patch.{name}") is None, name
        assert callable(getattr(msp, name)), name


MEL = dict(sample_rate=16000, n_fft=400, hop_length=100, n_mels=8)


def test_stats_count_front_ends_by_their_names_once_they_were_called(signal, on):
    assert set(msp.stats()) == {"stft", "istft"}
    module = msp.LogMelSpectrogramTransform(**MEL).to(signal.x.device)
    with msp.accelerated(**on):
        for _ in range(3):
            module(signal.x)
            msp.mel_spectrogram(signal.x, **MEL)
        msp.DynamicMelSpectrogramTransform(**MEL).to(signal.x.device)(signal.x, keyshift=2.0)
        if not signal.x.is_mps:  # which has no doubles
            module.double()(signal.x.double())
    stats = msp.stats()
    counted = {name: (one.fast, one.fallback, one.verified) for name, one in stats.items() if one.calls}
    assert counted == {
        "LogMelSpectrogramTransform": (3, {} if signal.x.is_mps else {"dtype": 1}, 1),
        "mel_spectrogram": (3, {}, 1),
        "DynamicMelSpectrogramTransform": (1, {}, 1),
    }
    assert "mel_spectrogram: 3 calls" in str(stats) and "torch.mel" not in str(stats)
    msp.reset_stats()
    assert set(msp.stats()) == {"stft", "istft"}


def test_report_tells_front_ends_by_the_line_they_came_from(signal, on):
    module = msp.LogMelSpectrogramTransform(**MEL).to(signal.x.device)
    with msp.accelerated(**on):
        for _ in range(3):
            module(signal.x)
    if not signal.x.is_mps:
        module(signal.x)  # not accelerated: not in the sample
    (row,) = msp.report()
    assert (row.op, row.calls, row.outcome) == ("LogMelSpectrogramTransform", 3, "fast")
    assert "test_report.py:" in row.place and "2x4000 float32, n_fft=400, hop=100, win=400" in row.arguments


def test_a_front_end_that_is_wrong_or_fails_is_counted_as_such(signal, on, monkeypatch):
    from mps_spectro_patch.ops import features

    ready = features.ready_features
    with msp.accelerated(**on):
        for n_fft, change in ((400, lambda y: y + 1), (512, lambda y: 1 / 0)):
            monkeypatch.setattr(features, "ready_features", lambda *a, change=change: lambda *b: change(ready(*a)(*b)))
            for _ in range(2):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    msp.mel_spectrogram(signal.x, **{**MEL, "n_fft": n_fft})
    assert msp.stats()["mel_spectrogram"].fallback == {"verification": 1, "error": 1, "quarantined": 2}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full")])
def test_a_front_end_without_memory_is_composed_this_time(error, signal, on, monkeypatch):
    from mps_spectro_patch.ops import features

    def full(*_):
        raise error

    expected = msp.mel_spectrogram(signal.x, use_mps_kernels=False, **MEL)
    with msp.accelerated(**on), monkeypatch.context() as patched:
        patched.setattr(features, "ready_features", full)
        with pytest.warns(RuntimeWarning, match="could not be taken now"):
            assert torch.equal(msp.mel_spectrogram(signal.x, **MEL), expected)
    with msp.accelerated(**on):
        msp.mel_spectrogram(signal.x, **MEL)
    assert msp.stats()["mel_spectrogram"].fast == 1 and not msp.status().quarantined
