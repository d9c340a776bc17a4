"""descript-audiotools' spectral losses, on a stand-in: magnitudes in one launch, and the signals as the originals leave
them; copies under other names; and what differs is left alone."""

from __future__ import annotations

import sys
import types
import warnings

import pytest
import torch

import mps_spectro_patch as msp

from .conftest import HERE

LOSSES = ["MultiScaleSTFTLoss", "MelSpectrogramLoss"]
TEXT = (HERE / "stand_in" / "audiotools" / "metrics" / "spectral.py").read_text()


@pytest.fixture
def audiotools(stand_in):
    return stand_in("audiotools")


@pytest.fixture
def spectral(audiotools, stand_in):
    return stand_in("audiotools.metrics.spectral")


@pytest.fixture
def audio(torch_device):
    x, y = torch.randn(2, 2, 2, 2000)
    return x.to(torch_device), (y * torch.linspace(0.2, 3, 2000)).to(torch_device)


def run(audiotools, loss, x, y, **how):
    leaf = x.detach().clone().requires_grad_()
    signals = [audiotools.AudioSignal(one, 16_000, **how) for one in (leaf, y)]
    result = loss(*signals)
    return result, torch.autograd.grad(result, leaf, retain_graph=True)[0], signals


def relative(got, expected):
    return float((got - expected).norm() / expected.norm())


HOW = [
    dict(mag_weight=0.0, pow=1.0), {}, dict(loss_fn=torch.nn.MSELoss(), mag_weight=0),
    dict(loss_fn=lambda a, b: (a - b).abs().max(), mag_weight=0), dict(clamp_eps=0.0, mag_weight=0.0),
    dict(clamp_eps=0.05, log_weight=0.5),
]  # fmt: skip


@pytest.mark.parametrize("name, how", [
    pytest.param(name, how, marks=[pytest.mark.thorough] * (n + m > 0))
    for m, name in enumerate(reversed(LOSSES)) for n, how in enumerate(HOW)
])  # fmt: skip
def test_magnitudes_are_one_launch_and_signals_keep_their_spectra(name, how, audiotools, spectral, audio, options):
    loss = getattr(spectral, name)(**how)
    expected, gradient, theirs = run(audiotools, loss, *audio)
    with msp.accelerated(**options):
        state = msp.status().projects["audiotools"]
        assert state.startswith("applied") and f"audiotools.metrics.spectral.{name}.forward" in state
        msp.reset_stats()
        got, own_gradient, ours = run(audiotools, loss, *audio)
        stats = msp.stats()
    assert stats[f"audiotools.{name}"].fast == 4 and stats["stft"].fast == 2
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)  # of one bin, perhaps, in which there is little
    assert relative(own_gradient, gradient) < 3e-2  # a bin that is equally loud has either sign
    for mine, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.stft_data, right.stft_data, rtol=1e-4, atol=1e-4)
        assert mine.stft_data.requires_grad is right.stft_data.requires_grad


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOSSES)
def test_signals_warn_of_other_shapes_as_often_as_before(name, audiotools, spectral, audio, options):
    loss = getattr(spectral, name)()
    for how in ({}, dict(compat=False)):
        with msp.accelerated(**options, **how), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(audiotools, loss, *audio)
        assert [str(one.message) for one in caught] == 2 * ["stft_data changed shape"]


UNUSUAL = {
    "padding for strides": lambda a, loss, x, y: run(a, loss, x, y, stft_params=a.STFTParams(match_stride=True)),
    "a subclass of the signal": lambda a, loss, x, y: loss(*(type("Mine", (a.AudioSignal,), {})(one, 16_000)
                                                             for one in (x, y))),
    "a hook": lambda a, loss, x, y: loss.register_forward_hook(lambda *_: None) and run(a, loss, x, y),
    "too short": lambda a, loss, x, y: run(a, loss, x[..., :32], y[..., :32]),
    "tensors": lambda a, loss, x, y: loss(x, y),
    "one argument": lambda a, loss, x, y: loss(x),
    "another stft": lambda a, loss, x, y: setattr(a.AudioSignal, "stft", lambda self, *b, f=a.AudioSignal.stft, **c:
                                                  2 * f(self, *b, **c)) or run(a, loss, x, y),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("what", UNUSUAL)
@pytest.mark.parametrize("name", LOSSES)
def test_unusual_ones_are_their_own_code(name, what, audiotools, spectral, audio, options):
    def outcome(**how):
        with msp.accelerated(**options, **how), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            msp.reset_stats()
            try:
                result = UNUSUAL[what](audiotools, getattr(spectral, name)(), *audio)
            except Exception as error:
                return type(error), str(error)
            stats = msp.stats().get(f"audiotools.{name}")
            assert stats is None or not stats.fast
            return result[0] if isinstance(result, tuple) else result

    original = audiotools.AudioSignal.stft
    got = outcome()
    audiotools.AudioSignal.stft = original
    expected = outcome(compat=False)
    if isinstance(expected, tuple):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


NEAR_MISSES = {
    "log": (".log10()", ".log()"), "another clamp": ("clamp(self.clamp_eps)", "clamp(2 * self.clamp_eps)"),
    "a sum before": ("loss = 0.0", "loss = 1.0"), "a weight": ("return loss", "return loss * 2"),
    "spectra as well": ("return loss", "return loss, x.stft_data"),
    "weights exchanged": ("self.log_weight * self", "self.mag_weight * self"),
    "power behind the logarithm": (".pow(self.pow).log10()", ".log10().pow(self.pow)"),
    "magnitudes twice": ("loss += self.mag_weight", "loss += 2 * self.mag_weight"),
}  # fmt: skip


@pytest.mark.parametrize("what", [pytest.param(name, marks=[pytest.mark.thorough] * (n > 0))
                                  for n, name in enumerate(NEAR_MISSES)])  # fmt: skip
def test_what_is_written_in_another_way_is_left_alone(what, audiotools, options, monkeypatch, tmp_path):
    before, after = NEAR_MISSES[what]
    for name, text in (("copied_losses", TEXT), ("changed_losses", TEXT.replace(before, after))):
        assert name == "copied_losses" or text != TEXT
        module = types.ModuleType(name)
        module.__package__ = "audiotools.metrics"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(text, str(tmp_path / f"{name}.py"), "exec"), vars(module))
    with msp.accelerated(**options):
        state = msp.status().projects["audiotools"]
    refused, _, applied = state.partition("applied")
    for name in LOSSES:
        assert f"copied_losses.{name}.forward" in applied
        assert f"changed_losses.{name}.forward: unknown version: it is written in another way" in refused
