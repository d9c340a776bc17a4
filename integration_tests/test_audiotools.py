"""descript-audiotools' spectral losses, unmodified, and those of the Descript Audio Codec, which are copies of them.

pip install --no-deps descript-audiotools descript-audio-codec
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import pytest
import torch
from front_ends import DEVICE, accelerated, relative

import mps_spectro_patch as msp

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.filterwarnings("ignore")
audiotools = pytest.importorskip("audiotools", reason=str(__doc__).strip().rpartition("\n")[2].strip())

CODEC = dict(
    n_mels=[5, 10, 20, 40, 80, 160, 320], window_lengths=[32, 64, 128, 256, 512, 1024, 2048], pow=1.0, mag_weight=0.0,
    mel_fmin=[0.0] * 7, mel_fmax=[None] * 7,
)  # fmt: skip
CASES = {
    "mel": ("MelSpectrogramLoss", {}),
    "mel of the codec": ("MelSpectrogramLoss", CODEC),
    "mel, squares": ("MelSpectrogramLoss", dict(loss_fn=torch.nn.MSELoss(), log_weight=0.5)),
    "mel, a distance of its own": ("MelSpectrogramLoss", dict(loss_fn=lambda a, b: (a - b).abs().max(), mag_weight=0)),
    "magnitudes": ("MultiScaleSTFTLoss", {}),
    "magnitudes, logarithms alone": ("MultiScaleSTFTLoss", dict(mag_weight=0.0, window_lengths=[512, 100, 64])),
    "another window": ("MultiScaleSTFTLoss", dict(window_type="sqrt_hann")),
}


@pytest.fixture(params=["audiotools", "dac"])
def spectral(request, monkeypatch):
    """The module that has the losses: of audiotools, or the file of the codec under a name of its own."""
    if request.param == "audiotools":
        yield sys.modules["audiotools.metrics.spectral"]
    else:
        package = importlib.util.find_spec("dac")
        if package is None:
            pytest.skip("pip install --no-deps descript-audio-codec")
        file = Path(next(iter(package.submodule_search_locations))) / "nn" / "loss.py"
        spec = importlib.util.spec_from_file_location("somebodys_codec.loss", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module
    msp.disable()


@pytest.fixture
def signals():
    torch.manual_seed(0)
    x, y = torch.randn(2, 2, 1, 9000)
    return x.to(DEVICE), (y * torch.linspace(0.2, 3, 9000)).to(DEVICE)


def run(loss, x, y):
    """(the loss, its gradient, the two signals)"""
    leaf = x.clone().requires_grad_()
    signals = [audiotools.AudioSignal(one, 44_100) for one in (leaf, y)]
    result = loss(*signals)
    (gradient,) = torch.autograd.grad(result, leaf, retain_graph=True)
    return result.detach(), gradient, signals


@pytest.mark.parametrize("case", CASES)
def test_magnitudes_are_one_launch_and_the_signals_keep_their_spectra(case, spectral, signals):
    name, how = CASES[case]
    loss = getattr(spectral, name)(**how)
    expected, gradient, theirs = run(loss, *signals)
    with accelerated():
        state = msp.status().projects["audiotools"]
        assert state.startswith("applied") and f"{spectral.__name__}.{name}.forward" in state
        got, own_gradient, ours = run(loss, *signals)
        stats = msp.stats()
        assert stats[f"audiotools.{name}"].fast == 2 * len(loss.stft_params) and stats["stft"].fast == 2
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert relative(own_gradient, gradient) < 1e-2
    for mine, right in zip(ours, theirs, strict=True):
        assert relative(mine.stft_data, right.stft_data) < 1e-5
        assert mine.stft_data.requires_grad == right.stft_data.requires_grad
        assert relative(mine.magnitude, right.magnitude) < 1e-5


def test_signals_warn_of_other_shapes_as_before(spectral, signals):
    loss = spectral.MelSpectrogramLoss()
    found = []
    for scope in (lambda: accelerated(compat=False), accelerated):
        with scope(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(loss, *signals)
        found.append([str(one.message) for one in caught if "stft_data" in str(one.message)])
    assert found[0] == found[1] == 2 * ["stft_data changed shape"]


def _strided(x, y):
    return [audiotools.AudioSignal(one, 44_100, stft_params=audiotools.STFTParams(match_stride=True)) for one in (x, y)]


def _plain(x, y):
    return [audiotools.AudioSignal(one, 44_100) for one in (x, y)]


class _Signal(audiotools.AudioSignal):
    pass


UNUSUAL = {
    "padding for strides": _strided,
    "a subclass": lambda x, y: [_Signal(one, 44_100) for one in (x, y)],
    "float64": lambda x, y: _plain(x.double(), y.double()),  # of which a signal makes float32
    "too short": lambda x, y: _plain(x[..., :64], y[..., :64]),
    "other lengths": lambda x, y: _plain(x, y[..., :-1000]),
    "NaN": lambda x, y: _plain(x / 0 * 0, y),
    "silence": lambda x, y: _plain(x * 0, y * 0),
    "tensors": lambda x, y: (x, y),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_whatever_else_has_the_originals_outcome(what, spectral, signals):
    loss = spectral.MelSpectrogramLoss()

    def outcome():
        try:
            return loss(*UNUSUAL[what](*signals))
        except Exception as error:
            return type(error), str(error)

    with accelerated(compat=False):
        expected = outcome()
    with accelerated():
        got = outcome()
        fused = "audiotools.MelSpectrogramLoss" in msp.stats() and msp.stats()["audiotools.MelSpectrogramLoss"].fast
    assert bool(fused) == (what in ("float64", "NaN", "silence", "other lengths"))
    if isinstance(expected, tuple):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("case", ["mel", "mel of the codec"])
def test_our_own_module_has_the_same_numbers(case, signals):
    how = CASES[case][1]
    loss, own = sys.modules["audiotools.metrics.spectral"].MelSpectrogramLoss(**how), msp.MelSpectrogramLoss(**how)
    expected, gradient, _ = run(loss, *signals)
    leaf = signals[0].clone().requires_grad_()
    got = own(leaf, signals[1])
    torch.testing.assert_close(got.detach(), expected, rtol=1e-5, atol=1e-6)
    assert relative(torch.autograd.grad(got, leaf)[0], gradient) < 1e-2
