"""The self-test of the first enable() for MPS, on torch.mps's double: what it looks at, records and turns off."""

from __future__ import annotations

import itertools
import json
import os
import time
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch import options
from mps_spectro_patch.execution import call_cache, launches, quarantine, selftest, selftest_cases
from mps_spectro_patch.front_ends import compute as mel
from mps_spectro_patch.kernels import cache_directory
from mps_spectro_patch.kernels.launch import dispatch, features, transforms
from mps_spectro_patch.kernels.plans import fft
from tests.conformance.mps_double import standing_in
from tests.tiers import some

pytestmark = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="the double stands on the CPU build"
)


@pytest.fixture
def mac(monkeypatch, tmp_path):
    """A Mac whose user's cache directory is empty; kernels that are compiled already come from the real one."""
    monkeypatch.setattr(selftest, "_path", lambda _: tmp_path / "selftest.json")
    monkeypatch.delenv("MPS_SPECTRO_PATCH_SELFTEST", raising=False)
    monkeypatch.setattr(selftest, "SECONDS", None)  # a busy machine tries every plan, too
    with standing_in(monkeypatch, "2.13") as double:
        yield double


def enable_and_listen() -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        msp.enable(devices=("mps",), on_fallback="quiet")
    msp.disable()
    return said


def record(tmp_path) -> dict:
    return json.loads((tmp_path / "selftest.json").read_text())


def test_the_first_enable_compiles_reads_properties_compares_and_records(mac, tmp_path, monkeypatch):
    monkeypatch.setattr(selftest, "SECONDS", None)  # compiling on a CPU takes longer than on a Mac
    assert enable_and_listen() == []
    found = record(tmp_path)
    assert found["environment"] == selftest.environment()
    assert {"mps_spectro_patch", "torch", "system", "chip"} <= found["environment"].keys()
    tried = [(check["op"], check["n_fft"]) for check in found["checks"]]
    front_ends = [(op, n) for n in selftest.FRONT_ENDS for op in ("features", "features_gradient")]
    assert tried == [(op, n) for n in selftest.SIZES for op in ("stft", "istft")] + front_ends
    for check in found["checks"]:
        which = selftest_cases.kernel(check["op"], check["n_fft"], torch.device("cpu"))[1]
        assert check["wrong"] == "" and check["error"] < 1e-6
        assert (check["max_threads"], check["simd_width"]) == (which.threads, 32)
        room = check["op"] == "features"  # for the bands' values, beside what the transform needs
        assert which.threadgroup_bytes <= check["threadgroup_bytes"] + 8 * room <= fft.THREADGROUP_BYTES
        assert room or which.threadgroup_bytes == check["threadgroup_bytes"]
    # A floor under the largest takes a launch of its own.
    assert mac.launches == len(tried) + len(selftest.FRONT_ENDS) and not quarantine.plans and not quarantine.front_ends


def test_the_second_enable_launches_nothing(mac):
    enable_and_listen()
    launches = mac.launches
    assert launches and enable_and_listen() == [] and mac.launches == launches


@pytest.mark.parametrize("name", some(["mps_spectro_patch", "torch", "system", "chip"], ["mps_spectro_patch", "chip"]))
def test_another_version_or_chip_is_another_environment(mac, monkeypatch, name):
    enable_and_listen()
    launches = mac.launches
    here = selftest.environment()
    monkeypatch.setattr(selftest, "environment", lambda: {**here, name: "another"})
    enable_and_listen()
    assert mac.launches > launches


def test_it_takes_well_under_a_second_once_kernels_are_compiled(mac):
    selftest.run(torch.device("cpu"), seconds=None)
    taken = []
    for _ in range(3):  # the machine may be busy with other tests
        begin = time.process_time()
        outcome = selftest.run(torch.device("cpu"), seconds=None)
        taken.append(time.process_time() - begin)
    assert len(outcome.checks) == 2 * len(selftest.SIZES) + 2 * len(selftest.FRONT_ENDS) and min(taken) < 1


def test_when_time_is_up_no_further_plan_is_begun(mac, monkeypatch):
    monkeypatch.setattr(selftest, "_check", lambda op, n_fft, device: time.sleep(0.03) or selftest.Check(op, n_fft))
    assert len(selftest.run(torch.device("cpu"), seconds=0.02).checks) == 1


def test_a_wrong_number_turns_that_plan_off_with_one_warning_that_says_what_to_report(mac, monkeypatch, tmp_path):
    right = transforms.istft
    monkeypatch.setattr(transforms, "istft", lambda *a: right(*a) * (1.01 if a[2].n_fft == 1024 else 1))
    (warning,) = enable_and_listen()
    text = str(warning.message)
    assert "torch.istft n_fft=1024 (differs from torch in float64 by 1.0e-02" in text and "report" in text
    assert str(tmp_path / "selftest.json") in text and "doctor" in text and warning.filename == __file__
    assert [key[0] for key in quarantine.plans] == [("istft", 1024, False)]
    monkeypatch.setattr(transforms, "istft", right)
    quarantine.plans.clear()
    enable_and_listen()  # from the record, in what would be the next process
    assert [key[0] for key in quarantine.plans] == [("istft", 1024, False)]
    spectrum, window = torch.randn(513, 9, dtype=torch.complex64), torch.hann_window(1024)
    with msp.accelerated(devices=("mps",)):
        torch.istft(spectrum, 1024, 256, 1024, window)
        torch.istft(spectrum[:201], 400, 100, 400, window[:400] + 1)
    stats = msp.stats()["istft"]
    assert (stats.fast, [str(reason) for reason in stats.fallback]) == (1, ["quarantined"])


def front_end(x: torch.Tensor, n_fft: int = 400) -> torch.Tensor:
    return msp.mel_spectrogram(x, sample_rate=16000, n_fft=n_fft, hop_length=n_fft // 4, n_mels=80)


@pytest.mark.parametrize("broken, gradients", [("limited_features", False), ("features_gradient", True)])
def test_wrong_mel_kernels_are_turned_off_for_that_size_with_one_warning(mac, monkeypatch, broken, gradients):
    right = getattr(features, broken)

    def wrong(*args):
        geometry = next(arg for arg in args if hasattr(arg, "n_fft"))
        return right(*args) * (1.01 if geometry.n_fft == 400 else 1)

    monkeypatch.setattr(selftest, "SECONDS", None)
    monkeypatch.setattr(features, broken, wrong)
    (warning,) = enable_and_listen()
    what = ("gradients of " if gradients else "") + "fused front ends n_fft=400 (differs from torch in float64 by"
    assert what in str(warning.message) and "report" in str(warning.message) and "torch." + "stft" not in what
    monkeypatch.setattr(features, broken, right)
    assert enable_and_listen() == []  # the record says it again, and it is no news
    assert not quarantine.plans and "not used any more: front ends n_fft=400" in str(msp.status())
    x = torch.randn(2, 4000)
    with msp.accelerated(devices=("mps",), verify="off"):
        for n_fft, wants_gradient in itertools.product((400, 1024), (False, True)):
            before = mac.launches
            with torch.enable_grad():
                front_end(x.requires_grad_(wants_gradient), n_fft)
            is_off = n_fft == 400 and (wants_gradient or not gradients)
            assert (mac.launches == before) is is_off, (n_fft, wants_gradient)


def test_the_next_process_has_them_off_by_the_record(mac, monkeypatch, tmp_path):
    monkeypatch.setattr(selftest, "SECONDS", None)
    with monkeypatch.context() as broken:
        broken.setattr(features, "limited_features", lambda *args: None)
        enable_and_listen()
    quarantine.front_ends.clear()
    (warning,) = enable_and_listen()
    assert "fused front ends n_fft=400" in str(warning.message) and "n_fft=1024" in str(warning.message)
    assert {key[0] for key in quarantine.front_ends} == {400, 1024}


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


@pytest.mark.parametrize("failing", ["compile", "take", "launch"])
def test_an_error_of_the_compiler_is_a_failure_and_no_exception(monkeypatch, tmp_path, failing):
    monkeypatch.setattr(selftest, "SECONDS", None)
    monkeypatch.setattr(selftest, "_path", lambda _: tmp_path / "selftest.json")
    with standing_in(monkeypatch, "2.9", failing=failing, failure=SyntaxError("program_source:1: error: nonsense")):
        (warning,) = enable_and_listen()
        assert "nonsense" in str(warning.message)
        assert {key[0][:2] for key in quarantine.plans} >= {("stft", 400), ("istft", 400)}


@pytest.mark.parametrize("failing", ["compile", "launch"])
def test_shortage_of_memory_is_no_failure_and_is_not_recorded(monkeypatch, tmp_path, failing):
    monkeypatch.setattr(selftest, "SECONDS", None)
    monkeypatch.setattr(selftest, "_path", lambda _: tmp_path / "selftest.json")
    error = RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)")
    with standing_in(monkeypatch, "2.9", failing=failing, failure=error):
        assert enable_and_listen() == []
    assert record(tmp_path)["checks"] == [] and not quarantine.plans and not quarantine.front_ends


@pytest.mark.parametrize("default", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_another_default_type_is_no_failure(default):
    torch.set_default_dtype(default)
    try:
        outcome = selftest.run(torch.device("cpu"), (400,), None)
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(outcome.checks) == 4 and not outcome.failures, outcome.failures


def test_without_mps_in_the_devices_or_with_the_variable_nothing_is_tried(mac, monkeypatch, tmp_path):
    assert selftest.first(options.Options(devices=("simulator",))) is None
    monkeypatch.setenv("MPS_SPECTRO_PATCH_SELFTEST", "0")
    assert enable_and_listen() == [] and not (tmp_path / "selftest.json").exists() and not mac.launches


def test_a_record_that_cannot_be_read_or_written_is_no_obstacle(mac, monkeypatch, tmp_path):
    (tmp_path / "selftest.json").write_text("{not json")
    assert enable_and_listen() == [] and record(tmp_path)["checks"]
    monkeypatch.setattr(selftest, "_path", lambda _: tmp_path / "file" / "below" / "selftest.json")
    (tmp_path / "file").touch()
    assert enable_and_listen() == []


FAILED = {"op": "stft", "n_fft": 400, "wrong": "it is wrong"}


@pytest.mark.parametrize("text", [
    "", "null", "3", "[]", "{}", "{not json", "[" * 100_000, "\xff",
    *({"checks": checks} for checks in (None, 3, ["x"], [None], [[]])),
    *({"checks": [{**FAILED, **change}]} for change in (
        {"op": "nonsense"}, {"op": ["stft"]}, {"n_fft": 7}, {"n_fft": "400"}, {"n_fft": 400.0}, {"wrong": 3}, {"new": 0}
    )),
    {"checks": [], "environment": {}}, {"environment": None},
])  # fmt: skip
def test_whatever_a_record_holds_the_kernels_are_tried_again_with_one_warning(text, monkeypatch, tmp_path, caplog):
    if isinstance(text, dict):
        text = json.dumps({"environment": selftest.environment(), "checks": [FAILED], "seconds": 0.1, **text})
    (tmp_path / "selftest.json").write_text(text, encoding="latin-1")
    monkeypatch.setattr(selftest, "_path", lambda _: tmp_path / "selftest.json")
    monkeypatch.setattr(selftest, "run", lambda *_: selftest.Outcome(selftest.environment()))
    with standing_in(monkeypatch, "2.13"):
        assert enable_and_listen() == [] and not quarantine.plans
    assert record(tmp_path)["checks"] == [] and record(tmp_path)["environment"] == selftest.environment()
    assert [r.levelname for r in caplog.records if "selftest.json is ignored" in r.message] == ["WARNING"]


def test_torchs_random_numbers_and_default_device_are_left_alone(mac):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    selftest.run(torch.device("cpu"), (400,), None)
    assert torch.equal(torch.rand(4), expected)


def test_the_record_lies_in_the_users_cache_directory():
    path = selftest._path(selftest.environment())
    assert path.parent == cache_directory() and path.name.startswith("selftest-")
    assert dispatch.kernel_text  # the Metal text is part of the environment
    assert selftest.environment()["kernels"]
