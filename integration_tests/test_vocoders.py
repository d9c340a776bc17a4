"""HiFi-GAN's mel function and Whisper's, in unmodified packages from PyPI.

    pip install librosa && pip install --no-deps bigvgan f5-tts chatterbox-tts piper-tts openai-whisper

Their files are loaded without the packages around them, which want much more; what a file imports and does not need for
this is an empty module.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from front_ends import DEVICE, accelerated, relative, sweep

import mps_spectro_patch as msp

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.usefixtures("offline")
SPEECH = (1024, 80, 22050, 256, 1024, 0, 8000)
COPIES = {  # the module, its function, arguments behind the waveform, what it imports besides
    "bigvgan": ("bigvgan.meldataset", "mel_spectrogram", (1024, 100, 24000, 256, 1024, 0, None), ()),
    "f5-tts": ("f5_tts.model.modules", "get_bigvgan_mel_spectrogram", (),
               ("x_transformers", "x_transformers.x_transformers", "f5_tts.model.utils")),
    "chatterbox": ("chatterbox.models.s3gen.utils.mel", "mel_spectrogram", (), ()),
    "piper": ("piper.train.vits.mel_processing", "mel_spectrogram_torch", SPEECH, ()),
    "piper, bins": ("piper.train.vits.mel_processing", "spectrogram_torch", (1024, 22050, 256, 1024), ()),
    "whisper": ("whisper.audio", "log_mel_spectrogram", (80,), ("tiktoken",)),
}  # fmt: skip


@pytest.fixture
def own(monkeypatch):
    """own(module, empty modules) is the module, without what its packages' bodies do. Skips where it is missing."""

    def load(name: str, empty: tuple[str, ...]) -> types.ModuleType:
        package, *inner = name.split(".")[:-1]
        found = importlib.util.find_spec(package)
        if found is None:
            pytest.skip(f"{package} is not installed: pip install --no-deps {package}")
        folder = Path(next(iter(found.submodule_search_locations)))
        for path in ("", *(".".join(inner[: i + 1]) for i in range(len(inner)))):
            made = types.ModuleType(f"{package}.{path}".rstrip("."))
            made.__path__ = [str(folder.joinpath(*filter(None, path.split("."))))]
            monkeypatch.setitem(sys.modules, made.__name__, made)
        for one in (*empty, "flash_attn", "flash_attn.bert_padding"):
            monkeypatch.setitem(sys.modules, one, MagicMock())
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize("project", COPIES)
def test_the_same_numbers_and_gradient_in_one_launch_each(project, own, launches):
    name, function, arguments, empty = COPIES[project]
    module = own(name, empty)
    source = Path(module.__file__).read_bytes()
    signal = torch.stack([sweep(1), torch.randn(16_000) / 9]).to(DEVICE).requires_grad_()
    signal = signal.detach().requires_grad_()
    expected = getattr(module, function)(signal, *arguments)
    gradient = torch.autograd.grad(expected.square().mean(), signal)[0]
    launches.clear()
    with accelerated():
        assert name in str(msp.status())
        got = getattr(module, function)(signal, *arguments)
        assert len(launches) == 1
        assert got.stride() == expected.stride()
        mine = torch.autograd.grad(got.square().mean(), signal)[0]
    assert relative(got.detach(), expected.detach()) < 2e-5 and relative(mine, gradient) < 1e-3
    assert Path(module.__file__).read_bytes() == source


def test_f5_tts_by_its_own_module(own, launches):
    module = own(*COPIES["f5-tts"][::3])
    signal = sweep(1)[None].to(DEVICE)
    expected = module.MelSpec(mel_spec_type="bigvgan")(signal)
    with accelerated():
        launches.clear()
        got = module.MelSpec(mel_spec_type="bigvgan")(signal)
    assert len(launches) == 1 and relative(got, expected) < 2e-5


def test_a_mel_loss_of_bigvgan_learns_the_same(own, launches):
    module = own(*COPIES["bigvgan"][::3])
    target = sweep(1)[None].to(DEVICE)

    def learned() -> torch.Tensor:
        torch.manual_seed(0)
        taps = torch.nn.Parameter(torch.randn(1, 1, 9, device=DEVICE) / 9)
        optimizer = torch.optim.SGD([taps], 1e-3)
        for _ in range(3):
            made = torch.nn.functional.conv1d(target[:, None], taps, padding=4)[:, 0]
            mels = [module.mel_spectrogram(one, *COPIES["bigvgan"][2]) for one in (made, target)]
            optimizer.zero_grad()
            torch.nn.functional.l1_loss(*mels).backward()
            optimizer.step()
        return taps.detach()

    expected = learned()
    launches.clear()
    with accelerated():
        got = learned()
    assert len(launches) == 9 and relative(got, expected) < 1e-3
