"""Every front end on tensors that are on an Apple GPU in name only: shapes, types and the way taken; no numbers."""

from __future__ import annotations

import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.ops import features
from tests.parity import mps_guard

from .conftest import bank
from .transfers import CountingFakeMode

SPEECH = bank(1024, 0, 8000, 128, 16000)
SONG = bank(2048, 0, 12000, 128, 24000).t().contiguous()
FRONT_ENDS = {  # name: module, class, arguments, shape of a waveform of 9000 samples, of the result
    "rmvpe": ("rmvpe_of_somebody", "MelSpectrogram", (SPEECH,), (2, 9000), (2, 128, 57)),
    "rmvpe, half": ("rmvpe_of_somebody", "MelSpectrogram", (SPEECH, True), (2, 9000), (2, 128, 57)),
    "torchfcpe": ("torchfcpe.mel_extractor", "MelModule", (SPEECH,), (2, 9000, 1), (2, 56, 128)),
    "musicfm": ("musicfm.modules.features", "MelSTFT", (SONG, 2048, 240, True), (2, 9000), (2, 128, 38)),
    "muq": ("muq.muq.modules.features", "MelSTFT", (SONG, 2048, 240, True), (2, 9000), (2, 128, 38)),
    "mamba_amt": ("mamba_amt.data.mel", "MelSpectrogram", (SONG,), (2, 9000), (2, 128, 18)),
}


@pytest.fixture(autouse=True)
def _torch_takes_them():
    mps_guard.register()


@pytest.fixture
def called(monkeypatch):
    """The waveforms of the fused operator."""
    seen = []
    operator = features.features
    monkeypatch.setattr(features, "features", lambda *a: seen.append(a[0]) or operator(*a))
    return seen


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_front_end_is_one_fused_call_on_the_gpu_and_nothing_leaves_it(name, stand_in, called):
    module, cls, arguments, waveform, expected = FRONT_ENDS[name]
    with warnings.catch_warnings(), CountingFakeMode() as fake:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Accessing the data pointer of FakeTensor")
        front_end = getattr(stand_in(module), cls)(*(
            fake.from_tensor(one) if isinstance(one, torch.Tensor) else one for one in arguments
        )).to("mps:0")  # fmt: skip
        x = torch.randn(waveform, device="mps:0")
        fake.seen.clear()
        with msp.accelerated(devices=("mps",), on_error="raise", on_fallback="raise"):
            got = front_end(x)
            assert len(called) == 1
            assert [one.shape for one in fake.seen] in ([], [(1024,)])  # a window, once
            fake.seen.clear()
            front_end(x)
        assert not fake.seen and len(called) == 2
    assert str(got.device) == "mps:0" and got.shape == expected
    assert got.dtype is (torch.float16 if "half" in name else torch.float32)


def test_a_detour_is_counted():
    """What the other test holds against each front end is seen where there is one."""
    with CountingFakeMode() as fake:
        x = torch.randn(2, 9000, device="mps:0")
        torch.stft(x.cpu(), 512, window=torch.hann_window(512), return_complex=True).to("mps:0")
    assert fake.of_audio() == [("mps to cpu", (2, 9000)), ("cpu to mps", (2, 257, 71))]
