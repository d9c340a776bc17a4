"""One cache folder for many processes that begin at the same moment, as the ranks of a training do."""

from __future__ import annotations

import json
import os

import pytest

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system"),
    pytest.mark.skipif(
        os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="the simulator keeps most files"
    ),
]
PROCESSES = 6
# Forked, and let go together by a barrier: nearer to one another than interpreters ever start.
TOGETHER = f"""
import json, os, multiprocessing
import mps_spectro_patch as msp

def together(work):
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier({PROCESSES}), context.SimpleQueue()

    def begin(number):
        barrier.wait()
        told.put(work(number))

    children = [context.Process(target=begin, args=(number,)) for number in range({PROCESSES})]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * {PROCESSES}
    return [told.get() for _ in children]
"""


@pytest.fixture
def shared(tmp_path, run_python):
    """shared(code): what a program prints that has together(), with a cache folder that nothing is in at first."""
    return lambda code: run_python(TOGETHER + code, MPS_SPECTRO_PATCH_CACHE=str(tmp_path / "cache"))


@pytest.mark.thorough
def test_on_an_empty_folder_all_are_right_and_each_library_is_there_once(shared, tmp_path):
    code = """
from mps_spectro_patch.kernels.compilers import simulator

def call(number):
    compile_, made = simulator._compile, []
    simulator._compile = lambda *given: made.append(given) or compile_(*given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spectrum = torch.stft(x, 400, 160, window=window, return_complex=True)
        exact = torch.stft(x.double(), 400, 160, window=window.double(), return_complex=True)
        again = torch.istft(spectrum, 400, 160, window=window, length=x.shape[-1])
    errors = [float((got - real).norm() / real.norm()) for got, real in ((spectrum, exact), (again, x.double()))]
    return {"error": max(errors), "made": len(made), "quarantined": [str(bad) for bad in msp.status().quarantined],
            "warnings": [str(one.message) for one in caught],
            "fast": [msp.stats()[op].fast for op in ("stft", "istft")]}

msp.enable(devices=devices, on_error="raise")
print(json.dumps(together(call)))
"""
    folder = tmp_path / "cache"
    for when in ("empty", "filled"):
        children = json.loads(shared(code))
        assert len(children) == PROCESSES
        for child in children:
            assert child["error"] <= 3e-7 and child["fast"] == [1, 1]
            assert not child["quarantined"] and not child["warnings"]
        # The runtime and at least a kernel for each function; the folder's files were not there from the beginning.
        assert any(child["made"] for child in children) == (when == "empty")
        records = sorted(folder.glob("*-record.json"))
        libraries = {
            path.name.removesuffix("-record.json"): sorted(folder.glob(f"{path.name[:-12]}-*.so")) for path in records
        }
        assert len(records) >= 3 and {len(found) for found in libraries.values()} == {1}, libraries
        assert len(list(folder.iterdir())) == 2 * len(records)


def test_rules_of_doctor_tune_that_are_kept_at_once_are_all_kept(shared, tmp_path):
    """Each replaces the file by what it read and its own."""
    shared("""
from mps_spectro_patch.execution import tuning

def keep(number):
    for time in range(5):
        tuning.device_name = lambda device: f"device {number} {time}"
        tuning.keep(torch.device("cpu"), {"stft": 1})

together(keep)
""")
    (file,) = (tmp_path / "cache").iterdir()
    kept = {entry["device"] for entry in json.loads(file.read_text())}
    assert kept == {f"device {number} {time}" for number in range(PROCESSES) for time in range(5)}
