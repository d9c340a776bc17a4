"""%load_ext mps_spectro_patch, as IPython does it, and in IPython where that is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import mps_spectro_patch as msp


def test_loading_enables_and_says_so_and_unloading_puts_torchs_functions_back(monkeypatch, capsys, device_name):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_DEVICES", device_name)
    before = torch.stft, torch.istft
    msp.load_ipython_extension(None)
    assert msp.is_enabled() and capsys.readouterr().out == f"mps_spectro_patch is on: {device_name}\n"
    msp.unload_ipython_extension(None)
    assert (torch.stft, torch.istft) == before and not msp.is_enabled()


def test_a_device_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    monkeypatch.delenv("MPS_SPECTRO_PATCH_DEVICES", raising=False)
    msp.load_ipython_extension(None)
    msp.disable()
    assert capsys.readouterr().out == "mps_spectro_patch is on: mps; mps: there is no such device here\n"


CELLS = """%load_ext mps_spectro_patch
%reload_ext mps_spectro_patch
import torch, mps_spectro_patch
print(torch.stft is torch.functional.stft, mps_spectro_patch.is_enabled())
%unload_ext mps_spectro_patch
print(torch.stft is torch.functional.stft, mps_spectro_patch.is_enabled())
"""


@pytest.mark.thorough
def test_ipython_takes_it(tmp_path):
    pytest.importorskip("IPython")
    (tmp_path / "cells.ipy").write_text(CELLS)
    command = [sys.executable, "-m", "IPython", "--no-banner", "cells.ipy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[2:] == ["False True", "True False"], done.stdout + done.stderr
