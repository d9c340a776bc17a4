"""pyannote.audio, unmodified: a speaker embedding with random weights, and where its features are made."""

from __future__ import annotations

import pytest
import torch
from front_ends import DEVICE, accelerated, relative

import mps_spectro_patch as msp
from tests.compat.conftest import fake_mps  # noqa: F401

wespeaker = pytest.importorskip(
    "pyannote.audio.models.embedding.wespeaker", reason="integration_tests/run says how to install it"
)
pytest_plugins = ("front_ends",)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return wespeaker.WeSpeakerResNet34().to(DEVICE).eval()


@pytest.mark.parametrize("channels", [1, 2])
def test_an_embedding_is_the_same_and_its_features_are_one_launch(channels, model, launches):
    waveforms = torch.randn(3, channels, 24_000, device=DEVICE) / 8
    with torch.inference_mode():
        features, embedding = model.compute_fbank(waveforms), model(waveforms)
        with accelerated():
            got, theirs = (model.compute_fbank(waveforms), model(waveforms)), (features, embedding)
    assert len(launches) == 2
    assert [one.shape for one in got] == [one.shape for one in theirs]
    assert max(relative(*pair) for pair in zip(got, theirs, strict=True)) <= 1e-4


def test_features_are_centered_over_a_span_as_before(launches):
    model = wespeaker.BaseWeSpeakerResNet(fbank_centering_span=1.0).to(DEVICE).eval()
    waveforms = torch.randn(2, 1, 48_000, device=DEVICE) / 8
    theirs = model.compute_fbank(waveforms)
    with accelerated():
        got = model.compute_fbank(waveforms)
    assert len(launches) == 1 and relative(got, theirs) <= 1e-4


def test_nothing_leaves_a_mac(model, fake_mps):  # noqa: F811
    with fake_mps:
        waveforms = torch.ones(3, 1, 48_000, device="mps")
        seen = []
        for compat in (False, ("pyannote",)):
            with msp.accelerated(devices=("mps", "simulator"), on_error="raise", compat=compat):
                fake_mps.take()
                assert model.compute_fbank(waveforms).device.type == "mps"
                big = [one for one in fake_mps.take() if torch.Size(one.shape).numel() > 80 * 257]
                seen.append(sorted(one.way for one in big))
    assert seen == [["cpu to mps", "mps to cpu"], []]
