"""Programs in which spectra are a larger part than in front_end_projects.py: training steps with spectral losses, and
inferences that are little more than a transform and its inverse. Also jobs of front_end_share.py.

The networks of the training steps are written here, as small as those that people train on one GPU; the losses are the
projects' own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import torch
from torch import Tensor, nn

from .front_end_projects import ROOT, SPEC, Job, Region, Setting

Parts = list[Callable[[Tensor, Tensor], Tensor]]


def vocoder_step(setting: Setting) -> Iterator[Callable[[], Job]]:
    """A generator like HiFi-GAN's small one, with auraloss's loss of three resolutions and an L1 loss of mels."""

    def make() -> Job:
        losses = importlib.import_module("auraloss.freq")
        mels = mel_function()
        resolutions = losses.MultiResolutionSTFTLoss()
        frames = 8 if setting.tiny else 32
        features = torch.randn(2 if setting.tiny else 16, 80, frames, device=setting.device)
        real = 0.1 * torch.randn(features.shape[0], 1, frames * 256, device=setting.device)

        def mel(waveform: Tensor) -> Tensor:
            return mels.mel_spectrogram(waveform.squeeze(1), 1024, 80, 22_050, 256, 1024, 0, 8000)

        parts: Parts = [resolutions, lambda fake, real: 45 * nn.functional.l1_loss(mel(fake), mel(real))]
        functions = (losses.MultiResolutionSTFTLoss, "forward"), (mels, "mel_spectrogram")
        return _training("vocoder", _generator(setting), features, real, parts, 22_050, functions)

    yield make


def amplifier_step(setting: Setting) -> Iterator[Callable[[], Job]]:
    """A WaveNet like neural-amp-modeler's, with a squared error and auraloss's loss of three resolutions."""

    def make() -> Job:
        losses = importlib.import_module("auraloss.freq")
        resolutions = losses.MultiResolutionSTFTLoss()
        shape = (2, 1, 4096) if setting.tiny else (16, 1, 8192)
        dry, wet = 0.1 * torch.randn(2, *shape, device=setting.device)
        parts: Parts = [nn.functional.mse_loss, lambda fake, real: 5e-4 * resolutions(fake, real)]
        functions = ((losses.MultiResolutionSTFTLoss, "forward"),)
        return _training("amplifier model", _wavenet(16).to(setting.device), dry, wet, parts, 48_000, functions)

    yield make


def open_unmix(setting: Setting) -> Iterator[Callable[[], Job]]:
    """One source of Open-Unmix's large model, with its own filter, on random weights."""

    def make() -> Job:
        model = importlib.import_module("openunmix.model")
        torch.manual_seed(0)
        size = dict(nb_bins=2049, nb_channels=2, hidden_size=16 if setting.tiny else 1024, max_bin=1487)
        separator = model.Separator({"vocals": model.OpenUnmix(**size)}, niter=0, residual=True, nb_channels=2)
        separator = separator.eval().to(setting.device)
        seconds = setting.seconds(20.0)
        audio = setting.audio(seconds, 44_100, 2)[None].to(setting.device)

        def run(region: Region) -> None:
            with torch.no_grad(), region:
                separator(audio)

        return Job("open-unmix", f"one source, {_millions(separator)}", seconds, run, SPEC)

    yield make


def torch_gate(setting: Setting) -> Iterator[Callable[[], Job]]:
    """noisereduce's gate on a GPU."""

    def make() -> Job:
        gate = importlib.import_module("noisereduce.torchgate").TorchGate(44_100, nonstationary=True).to(setting.device)
        seconds = setting.seconds(30.0)
        audio = setting.audio(seconds, 44_100, 2).to(setting.device)

        def run(region: Region) -> None:
            with region:
                gate(audio)

        return Job("noisereduce", "TorchGate", seconds, run, SPEC)

    yield make


def _training(
    name: str, network: nn.Module, given: Tensor, wanted: Tensor, parts: Parts, rate: int, functions: tuple
) -> Job:  # fmt: skip
    """One step of AdamW. `functions`: of the losses, forward."""
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)

    def run(region: Region) -> None:
        with region:
            made = network(given)
            loss = sum(part(made, wanted) for part in parts)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    words = f"training step, {_millions(network)}, batch {given.shape[0]}"
    return Job(name, words, wanted.shape[-1] / rate, run, (functions, "losses, forward"))


def _millions(network: nn.Module) -> str:
    return f"{sum(one.numel() for one in network.parameters()) / 1e6:.1f} M"


def _generator(setting: Setting) -> nn.Module:
    """From 80 mels to 256 samples a frame."""
    torch.manual_seed(0)
    channels = 32 if setting.tiny else 256
    layers: list[nn.Module] = [nn.Conv1d(80, channels, 7, padding=3)]
    for rate in (8, 8, 2, 2):
        layers += [nn.LeakyReLU(0.1), nn.ConvTranspose1d(channels, channels // 2, 2 * rate, rate, rate // 2)]
        channels //= 2
        layers += [_Residual(channels, dilation) for dilation in (1, 3, 5)]
    layers += [nn.LeakyReLU(0.1), nn.Conv1d(channels, 1, 7, padding=3), nn.Tanh()]
    return nn.Sequential(*layers).to(setting.device)


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(nn.functional.leaky_relu(x, 0.1))


def _wavenet(channels: int) -> nn.Module:
    """Two stacks of ten dilated convolutions."""
    torch.manual_seed(0)
    dilations = [2**i for i in range(10)] * 2
    layers = [_Residual(channels, dilation) for dilation in dilations]
    return nn.Sequential(nn.Conv1d(1, channels, 1), *layers, nn.Conv1d(channels, 1, 1))


def mel_function(name: str = "hifigan") -> ModuleType:
    """HiFi-GAN's, or that of a relative, as the tests have it: nobody publishes it as a package."""
    folder = str(ROOT / "tests" / "compat" / "stand_in")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"vocoders_of_somebody.{name}")


STEPS = {
    "vocoder": vocoder_step, "amplifier": amplifier_step, "open-unmix": open_unmix, "TorchGate": torch_gate,
}  # fmt: skip
