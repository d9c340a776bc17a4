"""MelSpectrogramLoss: values and gradients against formulas in float64, what is launched, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch

import mps_spectro_patch as msp
from tests.precision import wide

from .reference import mel64, power64, relative, spectrum64

CODEC = dict(mag_weight=0.0, pow=1.0)
RATE = 8000


@pytest.fixture
def signals(torch_device):
    x, y = torch.randn(2, 3, 1, 2000)
    return x.to(torch_device), (y * torch.linspace(0.2, 3, 2000)).to(torch_device)


def module(**how):
    return msp.MelSpectrogramLoss(**{"n_mels": [20, 10], "window_lengths": [256, 128], "sample_rate": RATE, **how})


def right(x, y, kind=lambda a, b: (a - b).abs().mean(), mag_weight=1.0, log_weight=1.0, pow=2.0, clamp_eps=1e-5):
    """By audiotools' formula, of float64."""
    total = 0.0
    for bands, length in ((20, 256), (10, 128)):
        basis = mel64(length // 2 + 1, 0, RATE / 2, bands, RATE, "slaney", "slaney")
        window = torch.hann_window(length, dtype=torch.float64)
        mels = [basis @ power64(spectrum64(one.reshape(3, -1), window, length, length // 4), 1.0) for one in (x, y)]
        total = total + log_weight * kind(*(one.clamp(clamp_eps).pow(pow).log10() for one in mels))
        total = total + mag_weight * kind(*mels)
    return total


@pytest.mark.thorough
@pytest.mark.parametrize("how, kind", [
    ({}, None), (CODEC, None), (dict(CODEC, clamp_eps=0.1), None), (dict(log_weight=0.0, mag_weight=0.5), None),
    (dict(log_weight=0.3, pow=0.7), torch.nn.MSELoss()),
])  # fmt: skip
def test_values_and_gradients_are_those_of_float64_with_one_launch_each(how, kind, signals, options, launches):
    x, y = signals
    loss, leaf = module(loss_fn=kind, **how), x.clone().requires_grad_()
    wide = x.cpu().double().requires_grad_()
    kind = (lambda a, b: (a - b).abs().mean()) if kind is None else kind
    expected = right(wide, y.cpu().double(), kind, **how)
    (gradient,) = torch.autograd.grad(expected, wide)
    with msp.accelerated(**options):
        got = loss(leaf, y)
        assert len(launches) == 4
        got.backward()
    assert len(launches) == 6 and msp.stats()["MelSpectrogramLoss"].fast >= 4
    assert float(got.detach()) == pytest.approx(float(expected.detach()), rel=3e-6)
    assert relative(leaf.grad, gradient) < 1e-3


def test_without_kernels_and_in_float64_it_is_the_same(signals):
    x, y = (one.cpu() for one in signals)
    assert float(module()(x, y)) == pytest.approx(float(right(x, y)), rel=1e-5)
    got = module().double()(x.double(), y.double())
    assert got.dtype is torch.float64 and float(got) == pytest.approx(float(right(x, y)), rel=1e-6)


def test_defaults_are_audiotools():
    loss = msp.MelSpectrogramLoss()
    assert (loss.n_mels, loss.window_lengths, loss.mag_weight, loss.log_weight) == ([150, 80], [2048, 512], 1.0, 1.0)
    assert (loss.pow, loss.clamp_eps, loss.weight, loss.match_stride) == (2.0, 1e-5, 1.0, False)
    assert loss.mel_fmin == [0.0, 0.0] and loss.mel_fmax == [None, None] and not loss.state_dict()
    assert type(loss.loss_fn) is torch.nn.L1Loss


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["hamming", "sqrt_hann", "average"])
def test_windows_have_scipys_names(kind):
    window = module(window_type=kind).window_0
    expected = {
        "hamming": torch.hamming_window(256), "sqrt_hann": torch.hann_window(256).sqrt(),
        "average": torch.full((256,), 1 / 256),
    }[kind]  # fmt: skip
    torch.testing.assert_close(window, expected)


def test_silence_is_the_clamp_and_has_no_gradient(signals, options):
    x = torch.zeros_like(signals[0]).requires_grad_()
    with msp.accelerated(**options):
        loss = module(**CODEC)(x, torch.zeros_like(signals[0]))
        loss.backward()
    assert float(loss.detach()) == 0 and not x.grad.any()


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["longer", "other dtype", "NaN", "too short"])
def test_what_does_not_fit_is_torchs_matter(what, signals, options):
    x, y = signals
    x, y = {
        "longer": (x, torch.cat([y, y], -1)), "other dtype": (x, wide(y)), "too short": (x[..., :64], y[..., :64]),
        "NaN": (x.index_fill(-1, torch.tensor([5], device=x.device), float("nan")), y),
    }[what]  # fmt: skip

    def outcome():
        try:
            with pytest.warns(UserWarning) if what == "longer" else copy.copy(msp.accelerated(compat=False)):
                return module()(x, y)
        except Exception as error:
            return type(error), str(error)

    expected = outcome()
    with msp.accelerated(**options):
        got = outcome()
    if isinstance(expected, tuple):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=0, equal_nan=True)


@pytest.mark.parametrize("how, words", [
    (dict(n_mels=[3]), "of one length, not 1, 2"), (dict(mel_fmin=[0.0]), "of one length"),
    (dict(n_mels=[], window_lengths=[]), "of one length"), (dict(clamp_eps=0.0), "clamp_eps=0.0"),
    (dict(window_type="kaiser"), "window_type='kaiser'"),
])  # fmt: skip
def test_wrong_arguments_are_refused(how, words):
    with pytest.raises(ValueError, match=words):
        module(**how)


@pytest.mark.thorough
def test_compiled(signals, options, request):
    x, y = signals
    loss = module(**CODEC).to(x.device)
    expected = right(x.cpu(), y.cpu(), **CODEC)
    request.addfinalizer(msp.disable)
    msp.enable(**options)
    leaf = x.clone().requires_grad_()
    got = torch.compile(loss, backend="aot_eager", fullgraph=True)(leaf, y)
    got.backward()
    assert float(got.detach()) == pytest.approx(float(expected), rel=1e-5) and leaf.grad.isfinite().all()
