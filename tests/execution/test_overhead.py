"""The benchmark of what the patch costs measures what it says, and its bounds are not plainly broken.

Twice the bound is let pass here: the machine that runs the tests is busy. test_environment.py holds the bounds of a
call and of the import more tightly, over functions that do nothing; tests/cli/test_autoload.py those of the .pth file.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import mps_spectro_patch as msp


@pytest.fixture(scope="module")
def overhead():
    path = Path(__file__).parents[2] / "benchmarks" / "overhead.py"
    spec = importlib.util.spec_from_file_location("overhead", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def least(measure, bound, attempts=6):
    """The least of some measurements, as many as are needed to come below the bound."""
    best = float("inf")
    for _ in range(attempts):
        best = min(best, measure())
        if best <= bound:
            break
    print(best)
    return best


@pytest.mark.parametrize(("reach", "functional"), [("attribute", False), ("references", False), ("references", True)])
def test_a_call_on_another_device_costs_about_2_us(reach, functional, overhead, one_thread):
    assert least(lambda: overhead.per_call(reach, "mps", 150, functional)[0], 4) <= 4
    assert msp.stats()["stft"].fallback.keys() == {"device"}  # it did go through the patch


def test_a_call_on_another_device_costs_nothing_with_the_dispatcher(overhead, one_thread):
    assert abs(least(lambda: abs(overhead.per_call("dispatcher", "mps", 300)[0]), 0.5)) <= 1
    assert msp.stats()["stft"].calls == 0


def test_a_call_without_a_kernel_costs_about_5_us(overhead, one_thread):
    assert least(lambda: overhead.per_call("attribute", "simulator", 150)[0], 10) <= 10
    assert msp.stats()["stft"].fallback.keys() == {"dtype"}


def test_the_measurement_sees_what_it_should(overhead, one_thread):
    """5 microseconds that are wasted are found again."""
    import time

    def wasteful():
        end = time.perf_counter() + 5e-6
        while time.perf_counter() < end:
            pass

    more, base = overhead.in_turns(lambda: None, wasteful, 50)
    assert 4.5 <= more <= 20 and base < 1


def test_every_row_has_a_measurement(overhead, monkeypatch, capsys):
    monkeypatch.setattr(overhead, "per_call", lambda *_: (0.4, 20.0))
    monkeypatch.setattr(overhead, "importing", lambda: 19.0)
    monkeypatch.setattr(overhead, "starting", lambda is_set: 5.5 if is_set else 1.0)
    assert overhead.main() == 1  # 5.5 ms is too much
    table = capsys.readouterr().out
    for words in ("reach=dispatcher", "19.000 ms", "5.500 ms", "5.0 ms", "0.400 us", "20.0 us"):
        assert words in table
