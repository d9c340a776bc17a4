"""What fails in the self-test behind a process's first call on MPS: what is turned off, and what is no verdict."""

from __future__ import annotations

import itertools
import json
import os
import warnings
from contextlib import contextmanager

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache, launches, quarantine, selftest, selftest_cases
from mps_spectro_patch.front_ends import compute as mel
from mps_spectro_patch.kernels.launch import features, smooth_size
from tests.conformance.mps_double import standing_in

pytestmark = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="the double stands on the CPU build"
)


@pytest.fixture
def mac(monkeypatch, tmp_path):
    """A Mac whose user's cache directory is empty; kernels that are compiled already come from the real one."""
    with a_mac(monkeypatch, tmp_path, "2.13") as double:
        yield double


@pytest.fixture
def small(monkeypatch):
    """A self-test of four kernels."""
    monkeypatch.setattr(selftest, "SIZES", (400,))


@contextmanager
def a_mac(monkeypatch, tmp_path, release, **failure):
    monkeypatch.setattr(selftest, "_path", lambda _: tmp_path / "selftest.json")
    monkeypatch.setattr(selftest, "SECONDS", None)  # a busy machine tries every plan, too
    with standing_in(monkeypatch, release, **failure) as double:
        monkeypatch.delenv("MPS_SPECTRO_PATCH_SELFTEST")
        yield double


def process() -> list[warnings.WarningMessage]:
    """What a process that makes a call is told; nothing is turned off in it at first."""
    quarantine.plans.clear()
    quarantine.front_ends.clear()
    call_cache.clear()
    selftest.is_done = False
    with warnings.catch_warnings(record=True) as said, msp.accelerated(devices=("mps",), verify="off"):
        warnings.simplefilter("always")
        x = torch.ones(100)
        torch.stft(x, 20, 5, window=torch.ones(20), return_complex=True)
        torch.stft(x, 20, 5, window=torch.ones(20), return_complex=True)
    return said


def record(tmp_path) -> dict:
    return json.loads((tmp_path / "selftest.json").read_text())


def tried_in_the_next_process(mac) -> set[tuple[str, int]]:
    """Whose kernels the self-test looks at."""
    seen, check = set(), selftest._check

    def look(op, n_fft, device):
        seen.add((op, n_fft))
        return check(op, n_fft, device)

    selftest._check = look
    try:
        process()
    finally:
        selftest._check = check
    return seen


def test_a_wrong_number_turns_that_plan_off_with_one_warning_that_says_what_to_report(mac, monkeypatch, tmp_path):
    right = smooth_size.ready_istft

    def wrong(spectrum, window, geometry):
        run = right(spectrum, window, geometry)
        return lambda *tensors: run(*tensors) * (1.01 if geometry.n_fft == 1024 else 1)

    for _ in range(2):  # and the next process tries it again
        with monkeypatch.context() as broken:
            broken.setattr(smooth_size, "ready_istft", wrong)
            (warning,) = process()
        text = str(warning.message)
        assert "torch.istft n_fft=1024 (differs from torch in float64 by 1.0e-02" in text and "report" in text
        assert str(tmp_path / "selftest.json") in text and "doctor" in text and warning.filename == __file__
        assert [key[0] for key in quarantine.plans] == [("istft", 1024, False)]
    spectrum, window = torch.randn(513, 9, dtype=torch.complex64), torch.hann_window(1024)
    msp.reset_stats()
    with msp.accelerated(devices=("mps",)):
        torch.istft(spectrum, 1024, 256, 1024, window)
        torch.istft(spectrum, 1024, 255, 1024, window)  # by another kernel
        torch.istft(spectrum[:201], 400, 100, 400, window[:400] + 1)
    stats = msp.stats()["istft"]
    assert (stats.fast, [str(reason) for reason in stats.fallback]) == (2, ["quarantined"])


@pytest.mark.thorough
def test_what_failed_once_is_tried_again_in_the_next_process_and_may_pass(small, mac, monkeypatch, tmp_path):
    with monkeypatch.context() as broken:
        broken.setattr(features, "limited_features", lambda *args: None)
        (warning,) = process()
        assert "fused front ends n_fft=400" in str(warning.message)
        assert {key[0] for key in quarantine.front_ends} == {400}
    assert {check["op"] for check in record(tmp_path)["checks"] if check["wrong"]} == {"features"}
    assert tried_in_the_next_process(mac) == {("features", 400)} and not quarantine.front_ends
    assert not any(check["wrong"] for check in record(tmp_path)["checks"]) and tried_in_the_next_process(mac) == set()


def front_end(x: torch.Tensor, n_fft: int = 400) -> torch.Tensor:
    return msp.mel_spectrogram(x, sample_rate=16000, n_fft=n_fft, hop_length=n_fft // 4, n_mels=80)


@pytest.mark.thorough
@pytest.mark.parametrize("broken, gradients", [("limited_features", False), ("features_gradient", True)])
def test_wrong_mel_kernels_are_turned_off_for_that_size_with_one_warning(mac, monkeypatch, broken, gradients):
    right = getattr(features, broken)

    def wrong(*args):
        geometry = next(arg for arg in args if hasattr(arg, "n_fft"))
        return right(*args) * (1.01 if geometry.n_fft == 400 else 1)

    monkeypatch.setattr(features, broken, wrong)
    (warning,) = process()
    what = ("gradients of " if gradients else "") + "fused front ends n_fft=400 (differs from torch in float64 by"
    assert what in str(warning.message) and "report" in str(warning.message) and "torch." + "stft" not in what
    monkeypatch.setattr(features, broken, right)
    assert not quarantine.plans and "not used any more: front ends n_fft=400" in str(msp.status())
    x = torch.randn(2, 4000)
    with msp.accelerated(devices=("mps",), verify="off"):
        for n_fft, wants_gradient in itertools.product((400, 1024), (False, True)):
            before = mac.launches
            with torch.enable_grad():
                front_end(x.requires_grad_(wants_gradient), n_fft)
            is_off = n_fft == 400 and (wants_gradient or not gradients)
            assert (mac.launches == before) is is_off, (n_fft, wants_gradient)


def test_calls_that_are_ready_to_be_launched_again_are_turned_off_too(mac):
    x, window = torch.randn(2, 4000), torch.hann_window(400)
    call = mel.FrontEnd(400, 100, 400)

    def launches() -> int:
        before = mac.launches
        mel.compute(x, window, None, call)
        return mac.launches - before

    with msp.accelerated(devices=("mps",), verify="off"):
        assert launches() == launches() == 1 and call_cache.entries
        quarantine.add_size(400, x.device, False, "for this test")
        assert launches() == 0


def test_code_that_is_compiled_afterwards_is_made_of_torchs_functions(monkeypatch):
    x = torch.randn(2, 4000)
    monkeypatch.setattr(mel, "is_compiling", lambda: True)
    monkeypatch.setattr(mel, "is_accelerated", lambda _: True)
    launches.load_operators()
    assert mel.why_composed(x, x) is None
    quarantine.add_size(400, x.device, False, "for this test")
    assert mel.why_composed(x, x) is not None


class _Pipeline:
    """A kernel with other properties than it has."""

    def __init__(self, kernel, **properties):
        self._kernel = kernel
        self.__dict__.update(properties)

    def __getattr__(self, name):
        return getattr(self._kernel, name)

    def __call__(self, *args, **options):
        return self._kernel(*args, **options)


@pytest.mark.thorough
@pytest.mark.parametrize("properties, words", [
    ({"max_threads_per_threadgroup": 64}, "the pipeline takes 64 threads per threadgroup, the plan needs"),
    ({"thread_execution_width": 64}, "a simdgroup has 64 threads, the kernels count on 32"),
    ({"static_thread_group_memory_length": 40000}, "40000 bytes of threadgroup memory, more than 32768"),
])  # fmt: skip
def test_a_pipeline_with_other_properties_is_turned_off(mac, monkeypatch, properties, words):
    take = selftest_cases.kernel

    def kernel(*args):
        compiled, which = take(*args)
        return _Pipeline(compiled, **properties), which

    monkeypatch.setattr(selftest_cases, "kernel", kernel)
    outcome = selftest.run(torch.device("cpu"), (400,), None)
    assert [(check.op, check.wrong[: len(words)]) for check in outcome.failures] == [
        (op, words) for op in ("stft", "istft", "features", "features_gradient")
    ]


N_400 = "#define MSP_N_FFT 400"


@pytest.mark.thorough
@pytest.mark.parametrize("failing", ["compile", "take", "launch"])
def test_an_error_of_the_compiler_is_a_failure_and_no_exception(monkeypatch, tmp_path, failing):
    failure = SyntaxError("program_source:1: error: nonsense")
    with a_mac(monkeypatch, tmp_path, "2.9", failing=failing, failure=failure, where=N_400):
        (warning,) = process()
        assert "nonsense" in str(warning.message)
        assert {key[0][:2] for key in quarantine.plans} == {("stft", 400), ("istft", 400)}


PASSING = [
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)"),
    RuntimeError("Invalid buffer size: 7.45 GiB"),
    RuntimeError("Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)"),
    SyntaxError("Compiler encountered XPC_ERROR_CONNECTION_INTERRUPTED (is the OS shutting down?)"),
    InterruptedError("by a signal"),
]


@pytest.mark.thorough
@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_memory_time_outs_and_interruptions_are_no_verdict(small, monkeypatch, tmp_path, error):
    failing = "compile" if isinstance(error, SyntaxError) else "launch"
    with a_mac(monkeypatch, tmp_path, "2.9", failing=failing, failure=error, where=N_400) as mac:
        assert process() == [] and not quarantine.plans and not quarantine.front_ends
        assert not (tmp_path / "selftest.json").exists()
        mac.failing = ""
        short = {("stft", 400), ("istft", 400), ("features", 400), ("features_gradient", 400)}
        assert tried_in_the_next_process(mac) == short and tried_in_the_next_process(mac) == set()


def test_memory_that_is_gone_in_the_first_minute_costs_calls_but_no_plan(small, monkeypatch, tmp_path):
    with a_mac(monkeypatch, tmp_path, "2.13", failing="launch", failure=PASSING[0]) as mac:
        (warning,) = process()
        assert "could not be taken now" in str(warning.message) and not quarantine.plans and not selftest.is_done
        mac.failing = ""
        launches = mac.launches
        assert process() == [] and mac.launches > launches + 2 and selftest.is_done
