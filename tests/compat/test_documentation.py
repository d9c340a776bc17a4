"""The module that docs/compat.md shows works as it stands there."""

from __future__ import annotations

import re
import sys
import types

import torch

import mps_spectro_patch as msp
from mps_spectro_patch import options as options_module

from .conftest import HERE, bank

PAGE = (HERE.parents[1] / "docs" / "compat.md").read_text(encoding="utf-8")
BASIS = bank(1024, 0, 8000, 80, 16000)


class Mel:
    def __init__(self, device):
        self.basis, self.window = BASIS.to(device), torch.hann_window(1024, device=device)

    def __call__(self, audio, key=0):
        spectrum = torch.stft(audio, 1024, 256, window=self.window, return_complex=True)
        return (self.basis @ spectrum.abs()).clamp(min=1e-5).log()


def module(name: str, text: str = "", **names) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__package__ = name.rpartition(".")[0]
    vars(made).update(names)
    exec(text, vars(made))
    return made


def test_the_singer(monkeypatch, options, torch_device, launches):
    _, text, *_ = re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    monkeypatch.setattr(options_module, "PROJECTS", ("singer",))
    for one in (module("singer"), module("singer.mel", Mel=Mel), module("mps_spectro_patch.compat.singer", text)):
        monkeypatch.setitem(sys.modules, one.__name__, one)
    mel, audio = Mel(torch_device), torch.randn(2, 8000, device=torch_device)
    original, expected = Mel.__call__, mel(audio)
    with msp.accelerated(**options):
        assert msp.status().projects == {"singer": "applied: singer.mel.Mel.__call__"}
        got = mel(audio)
        assert len(launches) == 1
        assert mel(audio, key=1).shape == got.shape and len(launches) == 2  # its own code, and torch.stft
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    assert Mel.__call__ is original
