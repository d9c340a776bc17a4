"""ParallelWaveGAN's stft_loss.py, unmodified, in the package and as a copy under another name.

pip install --no-deps --no-build-isolation parallel_wavegan
"""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from pathlib import Path

import pytest
import torch
from front_ends import DEVICE, accelerated, relative

import mps_spectro_patch as msp

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.filterwarnings("ignore:stft with return_complex=False")


class _Version(tuple):
    """LooseVersion, which Python 3.12 has no more."""

    def __new__(cls, text):
        return super().__new__(cls, map(int, text.split("+")[0].split(".")[:2]))


@pytest.fixture
def stft_loss(monkeypatch):
    """The file of the package, under a name that a copy of it could have."""
    package = importlib.util.find_spec("parallel_wavegan")
    if package is None:
        pytest.skip(str(__doc__).strip().rpartition("\n")[2].strip())
    if importlib.util.find_spec("distutils") is None:
        monkeypatch.setitem(sys.modules, "distutils", types.ModuleType("distutils"))
        version = types.ModuleType("distutils.version")
        version.LooseVersion = _Version
        monkeypatch.setitem(sys.modules, "distutils.version", version)
    file = Path(next(iter(package.submodule_search_locations))) / "losses" / "stft_loss.py"
    before = file.read_bytes()
    spec = importlib.util.spec_from_file_location("somebodys_losses.stft_loss", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    yield module
    msp.disable()
    assert file.read_bytes() == before


@pytest.fixture
def signals():
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, 9000)
    return x.to(DEVICE), (y * torch.linspace(0.2, 3, 9000)).to(DEVICE)


def run(loss, x, y):
    leaf = x.clone().requires_grad_()
    sc_loss, mag_loss = loss(leaf, y)
    (sc_loss + mag_loss).backward()
    return torch.stack([sc_loss, mag_loss]).detach(), leaf.grad


@pytest.mark.parametrize("bands", [False, True])
def test_three_resolutions_are_three_fused_losses_of_the_same_numbers(bands, stft_loss, signals):
    loss = stft_loss.MultiResolutionSTFTLoss().to(DEVICE)
    if bands:
        signals = tuple(one.reshape(1, 3, 9000) for one in signals)
    expected, gradient = run(loss.double(), *(one.double() for one in signals))
    loss.float()
    with accelerated():
        assert msp.status().projects["parallel_wavegan"].startswith("applied")
        got, own_gradient = run(loss, *signals)
        assert msp.stats()["parallel_wavegan.STFTLoss"].fast == 3 and not msp.stats()["stft"].fast
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-7)
    assert relative(own_gradient.double(), gradient) < 1e-2


def test_the_magnitudes_alone_are_fused(stft_loss, signals):
    window = torch.hann_window(600, device=DEVICE)
    arguments = 1024, 120, 600, window
    expected = stft_loss.stft(signals[0], *arguments)
    with accelerated():
        got = stft_loss.stft(signals[0], *arguments)
        assert msp.stats()["parallel_wavegan.stft"].fast == 1
    assert relative(got, expected) < 1e-6 and got.stride() == expected.stride()


def test_the_first_call_is_compared(stft_loss, signals):
    with accelerated(verify="first"), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        run(stft_loss.MultiResolutionSTFTLoss().to(DEVICE), *signals)
        stats = msp.stats()["parallel_wavegan.STFTLoss"]
        assert stats.fast == stats.verified == 3


def test_a_net_learns_the_same(stft_loss, signals):
    def learned():
        torch.manual_seed(1)
        net = torch.nn.Conv1d(1, 1, 15, padding=7).to(DEVICE)
        loss, optimiser = stft_loss.MultiResolutionSTFTLoss().to(DEVICE), torch.optim.SGD(net.parameters(), lr=0.05)
        losses = []
        for _ in range(10):
            optimiser.zero_grad()
            value = sum(loss(net(signals[0][:, None]).squeeze(1), signals[1]))
            value.backward()
            optimiser.step()
            losses.append(float(value.detach()))
        return losses

    expected = learned()
    with accelerated():
        got = learned()
        assert msp.stats()["parallel_wavegan.STFTLoss"].fast == 30
    torch.testing.assert_close(torch.tensor(got), torch.tensor(expected), rtol=5e-3, atol=0)
    assert got[-1] < got[0]
