"""What the tests of bench share: the device that the suite runs on, tiny cases, and a cache directory of their own."""

from __future__ import annotations

import pytest

from mps_spectro_patch.bench.accelerator import Accelerator
from mps_spectro_patch.bench.cases import Case
from mps_spectro_patch.bench.contestants import contestants
from mps_spectro_patch.execution import call_cache, tuning
from tests.conftest import read_rule


@pytest.fixture
def accelerator(device_name) -> Accelerator:
    return Accelerator(device_name)


@pytest.fixture
def everybody(device_name) -> list:
    return contestants(device_name)


@pytest.fixture
def tiny() -> Case:
    return Case("stft", "stft", 2, 1203, 400, 160)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache directory for rules, which are read, and no rule afterwards. Kernels come from the old one."""
    monkeypatch.delenv("MPS_SPECTRO_PATCH_TUNED", raising=False)
    monkeypatch.setattr(tuning, "cache_directory", lambda: tmp_path)
    monkeypatch.setattr(tuning, "wanted_directory", lambda: tmp_path)
    monkeypatch.setattr(tuning, "_read", read_rule)
    monkeypatch.setattr(tuning, "_is_read", False)
    monkeypatch.setattr(tuning, "_rule", None)
    yield tmp_path
    call_cache.set_rule(None)


@pytest.fixture
def result() -> dict:
    """Two rows as a run on an Apple GPU would give them."""
    return make_result()


def make_result(device: str = "mps", name: str = "Apple M4 Max", scale: float = 1.0) -> dict:
    def times(median: float) -> dict:
        one = {"median": median * scale, "spread": 0.01, "count": 20}
        return {"synchronised": one, "queued": dict(one), "device": None, "memory": 1_000_000}

    def row(case: Case, theirs: float, ours: float) -> dict:
        return {
            "table": case.table, "op": case.op, "case": case.name, "key": case.key, "rows": case.rows,
            "samples": case.samples, "n_fft": case.n_fft, "hop_length": case.hop_length, "bytes": case.bytes_moved,
            "published": list(case.published or ()), "by": {"torch": times(theirs), "ours": times(ours)}, "failed": {},
            "error": 1.2e-7,
        }  # fmt: skip

    large = Case("stft", "stft", 4, 1_320_000, 1024, 256, published=(1.80, 1.37))
    back = Case("istft", "istft", 4, 1_320_000, 1024, 256, published=(5.65, 2.36))
    machine = dict(device=device, name=name, torch="2.13.0", package="0.1.0", python="3.12", system="?", date="?")
    return {"format": 1, "machine": machine, "missing": {}, "effort": {}, "first_calls": [], "copy_rate": 440.0,
            "rows": [row(large, 2.0, 0.4), row(back, 6.0, 0.5)], "sweep": [], "dispatch": [], "errors": []}  # fmt: skip
