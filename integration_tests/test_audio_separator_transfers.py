"""What audio-separator's models move between MPS and the CPU, unmodified, without compat and with it.

On fake MPS tensors, which need no Apple GPU. Without compat the STFTs are ours as well, on both devices, since torch's
own istft cannot run on fake tensors; so what differs is what compat does.
"""

from __future__ import annotations

import importlib
import logging

import pytest
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.func import functional_call

import mps_spectro_patch as msp
from mps_spectro_patch.compat.tools import complex_support
from mps_spectro_patch.compat.tools import windows as kept_windows
from tests.compat.transfers import CountingFakeMode, others, windows
from tests.parity import mps_guard

pytest.importorskip("audio_separator.separator", reason='pip install "audio-separator[cpu]"')

LIBRARY = "audio_separator.separator.uvr_lib_v5"
ROFORMER = dict(dim=16, depth=1, stereo=True, num_stems=1, time_transformer_depth=1, freq_transformer_depth=1,
                dim_head=8, heads=2, flash_attn=False, stft_hop_length=441)  # fmt: skip
DEMUCS = dict(sources=["a", "b"], channels=8, nfft=4096, samplerate=44100, segment=1)
MPS = torch.device("mps:0")


def module(name: str):
    return importlib.import_module(f"{LIBRARY}.{name}")


def demucs(kind: str, **options):
    # Attention on fake MPS tensors aborts in a torch that was built without MPS, and LSTMs of them take minutes.
    small = dict(depth=4, t_layers=0) if kind == "HTDemucs" else dict(depth=6, dconv_lstm=9, dconv_attn=9)
    options = {**DEMUCS, **options, **small}
    return lambda: getattr(module(f"demucs.{kind.lower()}"), kind)(**options).eval()


# What to call and the shape of its input. A model is any torch.nn.Module.
CALLS = {
    "MDX": (lambda: module("stft").STFT(logging.getLogger(), 6144, 1024, 2048, MPS), (1, 2, 261120)),
    "MDX, inverse": (
        lambda: module("stft").STFT(logging.getLogger(), 6144, 1024, 2048, MPS).inverse, (1, 4, 2048, 256)),
    "MDX23C": (lambda: module("tfc_tdf_v3").STFT(8192, 1024, 4096, MPS), (1, 2, 261120)),
    "MDX23C, inverse": (lambda: module("tfc_tdf_v3").STFT(8192, 1024, 4096, MPS).inverse, (1, 2, 4, 4096, 256)),
    "HTDemucs": (demucs("HTDemucs", cac=True), (1, 2, 44100)),
    "HDemucs": (demucs("HDemucs", cac=True), (1, 2, 44100)),
    "BS-Roformer": (
        lambda: module("roformer.bs_roformer").BSRoformer(freqs_per_bands=(256, 512, 257), **ROFORMER), (1, 2, 112455)),
    "Mel-Band Roformer": (
        lambda: module("roformer.mel_band_roformer").MelBandRoformer(num_bands=8, **ROFORMER), (1, 2, 112455)),
}  # fmt: skip
WIENER = demucs("HDemucs", cac=False, wiener_iters=0), (1, 2, 44100)


@pytest.fixture
def fake(monkeypatch):
    """torch is said to have the complex operations on MPS, and fake windows are kept, too.

    Demucs's pad1d asserts that no value changed, and a fake tensor has none.
    """
    if torch.cuda.is_available():
        pytest.skip("torch makes no fake MPS windows where it sees another GPU: run it with CUDA_VISIBLE_DEVICES=")
    mps_guard.register()
    monkeypatch.setattr(complex_support, "_supported", {MPS: True})
    monkeypatch.setattr(kept_windows, "_may_be_kept", lambda window: True)
    monkeypatch.setattr(kept_windows, "_copies", type(kept_windows._copies)())
    monkeypatch.setattr(kept_windows, "_hann_windows", {})
    for name in ("demucs.hdemucs", "demucs.htdemucs"):
        monkeypatch.setattr(module(name), "pad1d", torch.nn.functional.pad)
    return CountingFakeMode()


def transfers(fake: CountingFakeMode, make, shape) -> list:
    """Those of two calls."""
    with unset_fake_temporarily():
        function = make()
    if isinstance(function, torch.nn.Module):
        model = function
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        state = {name: fake.from_tensor(tensor.detach()).to("mps:0") for name, tensor in state.items()}

        def function(signal):
            return functional_call(model, state, (signal,))

    signal, seen = torch.randn(*shape, device="mps"), []
    for _ in range(2):
        fake.take()
        assert function(signal).shape[0] == 1
        seen.append(fake.take())
    return seen


@pytest.mark.parametrize("name", CALLS)
def test_no_audio_and_no_spectrum_leaves_the_device(fake, name, record_property):
    with fake, torch.no_grad():
        probe_fails_before_the_patch()
        with msp.accelerated(devices=("mps", "simulator"), compat=False):
            without = transfers(fake, *CALLS[name])
        with msp.accelerated(devices=("mps",), on_error="raise", on_fallback="raise"):
            first, second = transfers(fake, *CALLS[name])
    assert all(sum(others(seen).values()) >= 2 for seen in without)
    assert not others(first) and windows(first) <= 1
    assert not second
    record_property("transfers per call", f"{sum(without[1].values())} without compat, {sum(second.values())} with it")


def probe_fails_before_the_patch() -> None:
    """From 0.46 on: as on a Mac where it ran once when something was missing. That kept the process on the CPU."""
    if importlib.util.find_spec(f"{LIBRARY}.device_utils"):
        probe = module("device_utils")._supports_complex_spectral_ops
        probe.cache_clear()
        assert not probe("mps", 0)


@pytest.fixture
def since_046():
    if not importlib.util.find_spec(f"{LIBRARY}.device_utils"):
        pytest.skip("this audio-separator has no probe: it is older than 0.46")


@pytest.mark.parametrize("name", CALLS)
def test_where_the_probe_succeeds_windows_and_padding_crossed_over_still(since_046, fake, name):
    with fake, torch.no_grad(), msp.accelerated(devices=("mps",), compat=False, on_fallback="raise"):
        module("device_utils")._supports_complex_spectral_ops.cache_clear()
        _, second = transfers(fake, *CALLS[name])
    assert windows(second) == (2 if "Demucs" in name else 1)
    assert sum(others(second).values()) == ("inverse" in name)


def test_wiener_filters_stay_on_the_cpu_as_since_046(fake):
    with fake, torch.no_grad(), msp.accelerated(devices=("mps", "simulator"), on_error="raise"):
        _, second = transfers(fake, *WIENER)
    assert sum(others(second).values()) == 3  # both operands, and the audio back


def test_where_torch_has_no_complex_operations_nothing_changes(fake, monkeypatch):
    monkeypatch.setattr(complex_support, "_supported", {MPS: False})
    with fake, torch.no_grad():
        probe_fails_before_the_patch()
        with msp.accelerated(devices=("mps", "simulator"), compat=False):
            without = transfers(fake, *CALLS["HDemucs"])
        with msp.accelerated(devices=("mps", "simulator")):
            withal = transfers(fake, *CALLS["HDemucs"])
    assert [others(seen) for seen in withal] == [others(seen) for seen in without]
