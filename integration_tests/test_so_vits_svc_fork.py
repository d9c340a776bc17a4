"""so-vits-svc-fork, unmodified: what the start of a training does to torch.stft, and the mel loss after it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from front_ends import DEVICE, DEVICE_NAME

import mps_spectro_patch as msp

pytest.importorskip("lightning.pytorch")
with pytest.MonkeyPatch.context() as patch:
    # A class of it reads voices, which no test here does. (And it would take our folder `kernels` for a package.)
    patch.setitem(sys.modules, "transformers", SimpleNamespace(HubertModel=object))
    train = pytest.importorskip("so_vits_svc_fork.train", reason="integration_tests/run says how to install it")
pytest_plugins = ("front_ends",)


@pytest.fixture(autouse=True)
def _torchs_own_comes_back():
    torchs = torch.stft
    yield
    msp.disable()
    torch.stft = torchs


def start() -> None:
    """As Lightning starts a training on a Mac. A model is 500 MB, and this needs none."""
    weight = torch.ones(1, device=DEVICE)
    trainer = SimpleNamespace(accelerator=train.MPSAccelerator(), precision="32")
    model = SimpleNamespace(tuning=True, trainer=trainer, device=weight.device, parameters=lambda: iter([weight]))
    train.VitsLightning.on_train_start(model)


def mel() -> torch.Tensor:
    torch.manual_seed(0)
    data = dict(sampling_rate=44100, filter_length=2048, n_mel_channels=80, mel_fmin=0, mel_fmax=None, hop_length=512,
                win_length=2048)  # fmt: skip
    audio = torch.rand(2, 20480, device=DEVICE) - 0.5
    return train.mel_spectrogram_torch(audio, SimpleNamespace(data=SimpleNamespace(**data)))


def test_a_training_keeps_torch_stft_and_its_mels_stay_one_launch(launches):
    theirs = mel()
    msp.enable(devices=(DEVICE_NAME,), verify="off", on_error="raise")
    ours = torch.stft
    start()
    assert torch.stft is ours
    got = mel()
    assert len(launches) == 1 and "on_train_start" in msp.status().projects["so_vits_svc_fork"]
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-4)


def test_without_the_patch_it_is_replaced_and_enable_behind_that_is_fast(launches):
    start()
    replaced = torch.stft
    assert replaced.__qualname__ == "VitsLightning.on_train_start.<locals>.stft"
    theirs = mel()
    msp.enable(devices=(DEVICE_NAME,), verify="off", on_error="raise")
    got = mel()
    assert len(launches) == 1
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-4)
    msp.disable()
    assert torch.stft is replaced
