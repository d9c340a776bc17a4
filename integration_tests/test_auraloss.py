"""auraloss, unmodified: a loss of several resolutions and its gradient, and a net that learns by it."""

from __future__ import annotations

import copy

import pytest
import torch
from front_ends import DEVICE, accelerated, relative

import mps_spectro_patch as msp
from mps_spectro_patch.kernels.launch import stft_loss as kernels

freq = pytest.importorskip("auraloss.freq")
pytest_plugins = ("front_ends",)

CASES = {
    "as it comes": {},
    "linear magnitudes": dict(w_lin_mag=1.0),
    "squares": dict(mag_distance="L2"),
    "sums": dict(reduction="sum"),
    "perceptual weighting": dict(perceptual_weighting=True, sample_rate=44_100),
    "all terms apart": dict(w_lin_mag=0.5, output="full"),
}
OWN_CODE = {
    "phases": dict(w_phs=0.1),
    "mel scale": dict(scale="mel", sample_rate=44_100, n_bins=64),
    "one number per bin": dict(reduction="none"),
}


@pytest.fixture
def signals():
    """Input and target that differ in loudness by the sample, so that few bins are equally loud in both."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, 1, 9000)
    return x.to(DEVICE), (y * torch.linspace(0.2, 3, 9000)).to(DEVICE)


@pytest.fixture
def kernels_run(monkeypatch):
    """The names of the kernels that were launched for losses."""
    for cached in (kernels._mean_launch, kernels._gradient_recipe):
        cached.cache_clear()
    names: list[str] = []
    recipe = kernels.dispatch.recipe

    def counting(compiled, *args):
        launch = recipe(compiled, *args)
        return lambda *tensors: (names.append(compiled._name), launch(*tensors))[1]

    monkeypatch.setattr(kernels.dispatch, "recipe", counting)
    yield names
    for cached in (kernels._mean_launch, kernels._gradient_recipe):
        cached.cache_clear()


def run(loss, x, y):
    """(numbers, gradient)"""
    leaf = x.clone().requires_grad_()
    result = loss(leaf, y)
    parts = [result] if isinstance(result, torch.Tensor) else [result[0], *sum(result[1:], [])]
    parts[0].sum().backward()
    return [torch.as_tensor(part).detach().cpu().double() for part in parts], leaf.grad.cpu().double()


def in_float64(loss, x, y):
    wide = copy.deepcopy(loss).cpu().double()
    for one in wide.stft_losses:
        one.window = one.window.cpu().double()
    return run(wide, x.cpu().double(), y.cpu().double())


@pytest.mark.parametrize("case", CASES)
def test_three_resolutions_are_nine_launches_of_the_same_numbers(case, signals, kernels_run):
    loss = freq.MultiResolutionSTFTLoss(**CASES[case])
    expected, gradient = in_float64(loss, *signals)
    with accelerated():
        assert msp.status().projects["auraloss"].startswith("applied")
        got, own_gradient = run(loss, *signals)
    assert sorted(kernels_run) == sorted(3 * ["msp_stft_loss", "msp_stft_loss_finish", "msp_stft_loss_gradient"])
    for one, right in zip(got, expected, strict=True):
        torch.testing.assert_close(one, right, rtol=1e-5, atol=1e-7)
    assert relative(own_gradient, gradient) < 1e-2


@pytest.mark.parametrize("case", OWN_CODE)
def test_what_has_no_kernel_keeps_its_own_steps(case, signals, kernels_run):
    if case == "mel scale":
        pytest.importorskip("librosa")
    loss = freq.STFTLoss(**OWN_CODE[case]).to(DEVICE)
    expected = loss(*signals)
    with accelerated():
        got = loss(*signals)
        assert msp.stats()["stft"].fast == 2
    assert not any("loss" in name for name in kernels_run)
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2)


def test_a_net_learns_the_same(signals):
    """Ten steps: a filter that shall make one signal of the other."""

    def learned():
        torch.manual_seed(1)
        net = torch.nn.Conv1d(1, 1, 15, padding=7).to(DEVICE)
        loss, optimiser = freq.MultiResolutionSTFTLoss(), torch.optim.SGD(net.parameters(), lr=0.05)
        losses = []
        for _ in range(10):
            optimiser.zero_grad()
            value = loss(net(signals[0]), signals[1])
            value.backward()
            optimiser.step()
            losses.append(float(value.detach()))
        return losses

    expected = learned()
    with accelerated():
        got = learned()
        assert msp.stats()["auraloss.MultiResolutionSTFTLoss"].fast >= 9  # 10 where another test has cached its sizes
    # Where two magnitudes are equal but for rounding, a gradient has either sign.
    torch.testing.assert_close(torch.tensor(got), torch.tensor(expected), rtol=5e-3, atol=0)
    assert got[-1] < got[0]


def test_the_first_call_is_compared(signals):
    with accelerated(verify="first"):
        run(freq.MultiResolutionSTFTLoss(), *signals)
        stats = msp.stats()["auraloss.STFTLoss"]
        assert stats.fast == stats.verified == 3
