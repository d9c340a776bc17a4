"""The self-test behind a process's first accelerated call on MPS: when it runs, what it looks at and records."""

# ruff: noqa: F811  (fixtures)
from __future__ import annotations

import json
import os
import signal
import time

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch import options
from mps_spectro_patch.execution import quarantine, selftest, selftest_cases
from mps_spectro_patch.kernels import cache_directory
from mps_spectro_patch.kernels.launch import dispatch
from mps_spectro_patch.kernels.plans import fft
from tests.tiers import some

from .test_selftest_failures import a_mac, mac, process, record, small, tried_in_the_next_process  # noqa: F401  (fixtures)

pytestmark = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="the double stands on the CPU build"
)


def test_the_first_accelerated_call_is_followed_by_compiling_properties_comparing_and_a_record(mac, tmp_path):
    assert process() == []
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
    # A floor under the largest takes a launch of its own; and two are the program's.
    assert mac.launches == len(tried) + len(selftest.FRONT_ENDS) + 2
    assert not quarantine.plans and not quarantine.front_ends


@pytest.mark.thorough
@pytest.mark.parametrize(("op", "n_fft"), selftest.planned(selftest.SIZES))
def test_the_kernel_that_is_looked_at_is_the_one_that_is_launched(op, n_fft, mac):
    selftest_cases.numbers(op, n_fft, torch.device("cpu"))
    assert selftest_cases.kernel(op, n_fft, torch.device("cpu"))[0] in mac.launched


@pytest.mark.thorough
def test_inverse_kernels_are_those_of_hops_that_programs_use(mac):
    assert {selftest_cases.kernel("istft", n, torch.device("cpu"))[1].overlap for n in selftest.SIZES} == {"registers"}


@pytest.mark.thorough
def test_it_runs_once_in_a_process_and_not_at_all_where_everything_passed(small, mac):
    assert tried_in_the_next_process(mac) == set(selftest.planned(selftest.SIZES))
    launches = mac.launches
    with msp.accelerated(devices=("mps",), verify="off"):
        torch.stft(torch.ones(100), 40, 5, window=torch.ones(40), return_complex=True)
    assert mac.launches == launches + 1 and tried_in_the_next_process(mac) == set()


def test_enabling_touches_no_metal_and_a_forked_child_can_use_it(small, mac, tmp_path):
    done = msp.enable(devices=("mps",))
    try:
        assert not mac._started_in and "mps" not in dict(done.skipped)
        assert not (tmp_path / "selftest.json").exists()
        child = os.fork()
        if not child:
            os._exit(int(not _works_in_a_child(mac)))
        assert os.waitpid(child, 0)[1] == 0 and not mac._started_in
        msp.status()
        assert not mac._started_in
    finally:
        msp.disable()


def _works_in_a_child(mac) -> bool:
    selftest.is_done = False
    signal.alarm(60)
    torch.set_num_threads(1)  # OpenMP's threads are not in a forked child, and torch on the CPU would wait for them
    try:
        torch.stft(torch.ones(100), 20, 5, window=torch.ones(20), return_complex=True)
        return mac.launches > 2 and not mac.undocumented and selftest.is_done
    except BaseException:
        return False


@pytest.mark.thorough
def test_where_a_call_is_transformed_or_another_device_is_meant_nothing_is_tried(mac, monkeypatch):
    selftest.is_done = False
    x, window = torch.ones(2, 100), torch.ones(20)
    with msp.accelerated(devices=("mps",), verify="off"):
        torch.func.vmap(lambda x: torch.stft(x, 20, 5, window=window, return_complex=True))(x)
        assert mac.launches and not selftest.is_done
    monkeypatch.setitem(options.ACCELERATORS, "mps", "mps")
    with msp.accelerated(devices=("simulator",), verify="off"):
        torch.stft(x, 20, 5, window=window, return_complex=True)
    assert not selftest.is_done


@pytest.mark.thorough
def test_not_even_hooks_for_saved_tensors_see_it(small, mac):
    seen = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: seen.append(one) or one, lambda one: one):
        assert process() == []
    assert selftest.is_done and not seen


@pytest.mark.thorough
@pytest.mark.parametrize("name", some(["mps_spectro_patch", "torch", "system", "chip"], ["mps_spectro_patch", "chip"]))
def test_another_version_or_chip_is_another_environment(small, mac, monkeypatch, name):
    process()
    here = selftest.environment()
    monkeypatch.setattr(selftest, "environment", lambda: {**here, name: "another"})
    assert tried_in_the_next_process(mac)


@pytest.mark.thorough
def test_it_takes_well_under_a_second_once_kernels_are_compiled(mac):
    selftest.run(torch.device("cpu"), seconds=None)
    taken = []
    for _ in range(3):  # the machine may be busy with other tests
        begin = time.process_time()
        outcome = selftest.run(torch.device("cpu"), seconds=None)
        taken.append(time.process_time() - begin)
    assert len(outcome.checks) == 2 * len(selftest.SIZES) + 2 * len(selftest.FRONT_ENDS) and min(taken) < 1


@pytest.mark.thorough
def test_when_time_is_up_no_further_plan_is_begun_and_the_next_process_goes_on(mac, monkeypatch, tmp_path):
    def slow(op, n_fft, device):
        time.sleep(0.02)
        return selftest.Check(op, n_fft)

    monkeypatch.setattr(selftest, "SECONDS", 0.03)
    monkeypatch.setattr(selftest, "_check", slow)
    wanted, counts = selftest.planned(selftest.SIZES), [0]
    while counts[-1] < len(wanted):
        assert process() == []
        tried = [(check["op"], check["n_fft"]) for check in record(tmp_path)["checks"]]
        assert counts[-1] < len(tried) <= counts[-1] + 2 and tried == wanted[: len(tried)]
        counts.append(len(tried))
    assert tried_in_the_next_process(mac) == set()


@pytest.mark.thorough
def test_what_is_slower_than_the_time_that_there_is_gets_its_turn(mac, monkeypatch, tmp_path):
    monkeypatch.setattr(selftest, "SECONDS", 0)
    for count in range(1, 4):
        process()
        assert len(record(tmp_path)["checks"]) == count


@pytest.mark.thorough
def test_a_process_that_is_ended_in_the_middle_has_recorded_what_passed(mac, monkeypatch, tmp_path):
    check = selftest._check

    def interrupted(op, n_fft, device):
        if (op, n_fft) == ("stft", 1024):
            raise KeyboardInterrupt
        return check(op, n_fft, device)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(selftest, "_check", interrupted)
        process()
    assert [(check["op"], check["n_fft"]) for check in record(tmp_path)["checks"]] == [("stft", 400), ("istft", 400)]
    assert not quarantine.plans
    assert tried_in_the_next_process(mac) == {*selftest.planned(selftest.SIZES)} - {("stft", 400), ("istft", 400)}


@pytest.mark.thorough
@pytest.mark.parametrize("default", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_another_default_type_is_no_failure(default):
    torch.set_default_dtype(default)
    try:
        outcome = selftest.run(torch.device("cpu"), (400,), None)
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(outcome.checks) == 4 and not outcome.failures, outcome.failures


def test_with_the_variable_nothing_is_tried(mac, monkeypatch, tmp_path):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_SELFTEST", "0")
    assert tried_in_the_next_process(mac) == set() and not (tmp_path / "selftest.json").exists()


@pytest.mark.thorough
def test_a_record_that_cannot_be_read_or_written_is_no_obstacle(small, mac, monkeypatch, tmp_path):
    (tmp_path / "selftest.json").write_text("{not json")
    assert process() == [] and record(tmp_path)["checks"]
    monkeypatch.setattr(selftest, "_path", lambda _: tmp_path / "file" / "below" / "selftest.json")
    (tmp_path / "file").touch()
    assert process() == []


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
    monkeypatch.setattr(selftest, "_check", lambda op, n_fft, device: selftest.Check(op, n_fft))
    with a_mac(monkeypatch, tmp_path, "2.13"):
        assert process() == [] and not quarantine.plans
    assert len(record(tmp_path)["checks"]) == len(selftest.planned(selftest.SIZES))
    assert record(tmp_path)["environment"] == selftest.environment()
    assert [r.levelname for r in caplog.records if "selftest.json is ignored" in r.message] == ["WARNING"]


@pytest.mark.thorough
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
