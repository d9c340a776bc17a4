"""mdxnet-infer's copy of Ultimate Vocal Remover's class STFT, unmodified: on fake MPS tensors, and the same numbers."""

from __future__ import annotations

import pytest
import torch
from front_ends import DEVICE, DEVICE_NAME

import mps_spectro_patch as msp
from tests.compat.conftest import fake_mps  # noqa: F401
from tests.compat.transfers import others, windows

model = pytest.importorskip("mdxnet_infer.model", reason="pip install --no-deps mdxnet-infer")
SIZES = 6144, 1024, 2048


def round_trip(device: str) -> torch.Tensor:
    stft = model.STFT(*SIZES, device)
    audio = torch.arange(2 * 65536, dtype=torch.float32).mul(0.37).sin().reshape(1, 2, 65536).to(device)
    return stft.inverse(stft(audio))


def test_no_audio_and_no_spectrum_leaves_the_device(fake_mps, record_property):  # noqa: F811
    if torch.cuda.is_available():
        pytest.skip("torch makes no fake MPS windows where it sees another GPU: run it with CUDA_VISIBLE_DEVICES=")
    with fake_mps:
        with msp.accelerated(devices=("mps", "simulator"), compat=False):
            stft, audio = model.STFT(*SIZES, "mps"), torch.ones(1, 2, 65536, device="mps")
            fake_mps.take()
            stft.inverse(stft(audio))
            without = fake_mps.take()
        with msp.accelerated(devices=("mps",), on_error="raise", on_fallback="raise"):
            spectrum = stft(audio)
            stft.inverse(spectrum)
            first = fake_mps.take()
            stft.inverse(stft(audio))
            second = fake_mps.take()
    assert sum(others(without).values()) == 4 and not others(first) and windows(first) == 1 and not second
    record_property("transfers per call", f"{sum(without.values())} without compat, {sum(second.values())} with it")


def test_numbers_are_the_same_and_nothing_stays():
    originals = model.STFT.__call__, model.STFT.inverse
    theirs = round_trip(DEVICE)
    msp.enable(devices=(DEVICE_NAME,), on_error="raise")
    got = round_trip(DEVICE)
    assert "mdxnet_infer.model.STFT.inverse" in msp.status().projects["uvr"]
    msp.disable()
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-5)
    assert (model.STFT.__call__, model.STFT.inverse) == originals
