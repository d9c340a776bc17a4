"""Stand-ins for projects, room for those that a test writes itself, and what compat keeps."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.compat.tools import complex_support, windows
from tests.front_ends.conftest import _guard_starts_anew, launches  # noqa: F401
from tests.front_ends.reference import mel64
from tests.parity import mps_guard

from .transfers import CountingFakeMode

HERE = Path(__file__).parent
STAND_INS = (
    "audiotools",
    "auraloss",
    "torchfcpe",
    "rmvpe_of_somebody",
    "vocos_of_somebody",
    "musicfm",
    "muq",
    "mamba_amt",
    "models",
    "torchaudio",
    "mps_spectro",
    "vocoders_of_somebody",
)
WRITTEN = ("audio_separator", "demucs", "demucs_infer", "pyannote", "so_vits_svc_fork", "mdx_of_somebody")


def _imported(packages: Collection[str]) -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in packages]


@pytest.fixture
def stand_in(monkeypatch):
    """stand_in(module) imports it, and torchaudio's stand-in where it asks for that."""
    kept = {name: sys.modules.pop(name) for name in _imported(STAND_INS)}
    monkeypatch.syspath_prepend(str(HERE.parent / "front_ends" / "stand_in"))
    monkeypatch.syspath_prepend(str(HERE / "stand_in"))
    yield importlib.import_module
    msp.disable()
    for name in _imported(STAND_INS):
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def project_folder(tmp_path, monkeypatch):
    """A folder at the front of sys.path, for packages of the WRITTEN names, none of which is imported."""
    for name in _imported(WRITTEN):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    msp.disable()
    for name in _imported(WRITTEN):
        del sys.modules[name]


@pytest.fixture
def fake_mps(monkeypatch) -> CountingFakeMode:
    """The mode of fake tensors. torch is said to have the complex operations there, and fake windows are kept, too."""
    mps_guard.register()
    monkeypatch.setattr(complex_support, "_supported", {torch.device("mps:0"): True})
    monkeypatch.setattr(windows, "_may_be_kept", lambda window: True)
    monkeypatch.setattr(windows, "_copies", type(windows._copies)())
    monkeypatch.setattr(windows, "_hann_windows", {})
    return CountingFakeMode()


@pytest.fixture
def options(device_name):
    return dict(devices=(device_name,), verify="off", on_error="raise")


def bank(n_fft, low, high, bands, rate, norm=None, scale="htk") -> torch.Tensor:
    """[bands, n_fft // 2 + 1]"""
    return mel64(n_fft // 2 + 1, low, high, bands, rate, norm, scale).float()
