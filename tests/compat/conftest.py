"""Stand-ins to import, and what is on while they are used."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

import mps_spectro_patch as msp
from tests.mel.conftest import _guard_starts_anew, launches  # noqa: F401
from tests.mel.reference import mel64

HERE = Path(__file__).parent
PACKAGES = ("torchfcpe", "rmvpe_of_somebody", "musicfm", "muq", "mamba_amt", "models", "torchaudio", "mps_spectro")


def _imported() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] in PACKAGES]


@pytest.fixture
def stand_in(monkeypatch):
    """stand_in(module) imports it, and torchaudio's stand-in where it asks for that."""
    kept = {name: sys.modules.pop(name) for name in _imported()}
    monkeypatch.syspath_prepend(str(HERE.parent / "mel" / "stand_in"))
    monkeypatch.syspath_prepend(str(HERE / "stand_in"))
    yield importlib.import_module
    msp.disable()
    for name in _imported():
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def options(device_name):
    return dict(devices=(device_name,), verify="off", on_error="raise")


def bank(n_fft, low, high, bands, rate, norm=None, scale="htk") -> torch.Tensor:
    """[bands, n_fft // 2 + 1]"""
    return mel64(n_fft // 2 + 1, low, high, bands, rate, norm, scale).float()
