"""Vocos, unmodified: a vocoder with random weights and "same" padding, its training step, and padding="center"."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from front_ends import DEVICE, DEVICE_NAME, accelerated, relative

import mps_spectro_patch as msp

vocos = pytest.importorskip("vocos")
pytest_plugins = ("front_ends",)


def vocoder(padding: str) -> torch.nn.Module:
    torch.manual_seed(0)
    features = vocos.feature_extractors.MelSpectrogramFeatures(padding=padding)
    backbone = vocos.models.VocosBackbone(100, 64, 128, 2)
    head = vocos.heads.ISTFTHead(64, 1024, 256, padding=padding)
    return vocos.Vocos(features, backbone, head).to(DEVICE).eval()


@pytest.fixture
def audio():
    torch.manual_seed(1)
    return torch.randn(2, 256 * 40, device=DEVICE) / 4


@pytest.mark.parametrize("padding", ["same", "center"])
def test_a_vocoder_sounds_as_before(padding, audio, launches):
    model = vocoder(padding)
    mel = model.feature_extractor(audio)
    theirs = model.decode(mel)
    right = copy.deepcopy(model).cpu().double().decode(mel.cpu().double())
    with accelerated():
        got = model.decode(mel)
    assert len(launches) == 1
    assert got.shape == theirs.shape and got.stride() == theirs.stride()
    errors = [relative(one.cpu().double(), right) for one in (got, theirs)]
    assert errors[0] <= max(1e-6, 1.5 * errors[1])


def test_a_training_step_learns_the_same(audio, launches):
    model = vocoder("same")
    mel = model.feature_extractor(audio)

    def gradients():
        model.zero_grad()
        (model.head(model.backbone(mel)) - audio).square().mean().backward()
        return torch.cat([p.grad.flatten() for p in model.backbone.parameters() if p.grad is not None])

    theirs = gradients()
    with accelerated():
        got = gradients()
    assert len(launches) == 2
    assert relative(got, theirs) <= 1e-4


def test_it_is_found_before_and_behind_enable():
    for first, second in (("import vocos", "msp.enable(devices=(%r,))"), ("msp.enable(devices=(%r,))", "import vocos")):
        lines = ("import mps_spectro_patch as msp", first, second, "print(msp.status().projects['vocos'])")
        text = "\n".join(lines) % DEVICE_NAME
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        assert "applied" in done.stdout and "vocos.spectral_ops.ISTFT.forward" in done.stdout, done.stdout
    assert not msp.status().enabled
