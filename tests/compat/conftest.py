"""Room for projects that are stood in for, and for what compat keeps."""

from __future__ import annotations

import sys

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.compat import complex_support, windows
from tests.parity import mps_guard

from .transfers import CountingFakeMode

_PACKAGES = ("audio_separator", "demucs", "demucs_infer")


@pytest.fixture
def project_folder(tmp_path, monkeypatch):
    """A folder at the front of sys.path, for packages of the names above, none of which is imported."""
    for name in _imported():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    msp.disable()
    for name in _imported():
        del sys.modules[name]


def _imported() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in _PACKAGES]


@pytest.fixture
def fake_mps(monkeypatch) -> CountingFakeMode:
    """The mode of fake tensors. torch is said to have the complex operations there, and fake windows are kept, too."""
    mps_guard.register()
    monkeypatch.setattr(complex_support, "_answers", {torch.device("mps:0"): True})
    monkeypatch.setattr(windows, "_may_be_kept", lambda window: True)
    yield CountingFakeMode()
    windows._copies.clear()
    windows._hann_windows.clear()
