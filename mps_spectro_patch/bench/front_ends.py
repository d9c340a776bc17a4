"""The mel front ends that are timed: this package's modules, and the same numbers by torch's own functions.

Each front end is one of a program that exists (mamba_amt, Whisper, MuQ, RMVPE, torchfcpe) or the plain log-mel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ..front_ends import (
    CompatMelSpectrogramTransform,
    DynamicMelSpectrogramTransform,
    WhisperLogMelTransform,
    melscale_fbanks,
)

try:
    from numpy import round as rounded
except ImportError:  # then a little faster than these programs are
    rounded = round

Features = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class FrontEnd:
    """ours(place) and torchs(place) make functions from waveforms to features; `mel` are torchaudio's arguments."""

    n_fft: int
    hop_length: int
    bands: int
    ours: Callable[[str], Features] = field(compare=False, repr=False)
    torchs: Callable[[str], Features] = field(compare=False, repr=False)
    mel: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    after: Callable[[torch.Tensor], torch.Tensor] | None = field(default=None, compare=False, repr=False)


class ComposedMel(torch.nn.Module):
    """torchaudio.transforms.MelSpectrogram, call by call, on `stft` or torch's own, whatever is patched."""

    def __init__(self, *, sample_rate: int, n_fft: int, hop_length: int, n_mels: int, f_min: float = 0.0,
                 f_max: float | None = None, power: float = 2.0, norm: str | None = None, mel_scale: str = "htk",
                 pad_mode: str = "reflect", stft: Features | None = None) -> None:  # fmt: skip
        super().__init__()
        self.n_fft, self.hop_length, self.power, self.pad_mode = n_fft, hop_length, power, pad_mode
        self.stft = stft or self._torchs_stft
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float32, device="cpu"))
        basis = melscale_fbanks(n_freqs=n_fft // 2 + 1, f_min=f_min, f_max=f_max or sample_rate / 2, n_mels=n_mels,
                                sample_rate=sample_rate, norm=norm, mel_scale=mel_scale)  # fmt: skip
        self.register_buffer("fb", basis.t().contiguous())

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        magnitude = self.stft(waveform.reshape(-1, waveform.shape[-1])).abs()
        power = magnitude if self.power == 1.0 else magnitude.pow(self.power)
        return torch.matmul(power.transpose(-1, -2), self.fb).transpose(-1, -2)

    def _torchs_stft(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.functional.stft(waveform, self.n_fft, self.hop_length, self.n_fft, self.window,
                                     pad_mode=self.pad_mode, return_complex=True)  # fmt: skip


class ComposedDynamicMel(torch.nn.Module):
    """What RMVPE's and torchfcpe's wrappers do in a call, step by step, on torch's own stft."""

    def __init__(self, basis: torch.Tensor, center: bool, eps: float) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.center, self.eps = 1024, 160, center, eps
        self.hann_window: dict[str, torch.Tensor] = {}
        self.register_buffer("mel_basis", basis)

    def forward(self, x: torch.Tensor, keyshift: float) -> torch.Tensor:
        n_fft = int(rounded(self.n_fft * 2 ** (keyshift / 12)))
        key = f"{keyshift}_{x.device}"
        if key not in self.hann_window:
            self.hann_window[key] = torch.hann_window(n_fft, dtype=torch.float32, device="cpu").to(x.device)
        window = self.hann_window[key]
        spectrum = torch.functional.stft(x, n_fft, self.hop_length, n_fft, window, self.center, return_complex=True)
        power = spectrum.real.pow(2) + spectrum.imag.pow(2)
        magnitude = torch.sqrt(power + self.eps if self.eps else power)
        if keyshift != 0:
            size, resize = self.n_fft // 2 + 1, magnitude.size(1)
            if resize < size:
                magnitude = torch.nn.functional.pad(magnitude, (0, 0, 0, size - resize))
            magnitude = magnitude[:, :size, :] * self.n_fft / n_fft
        return clamped_log(torch.matmul(self.mel_basis, magnitude))


def clamped_log(mel: torch.Tensor) -> torch.Tensor:
    return torch.log(torch.clamp(mel, min=1e-5))


def decibels(mel: torch.Tensor) -> torch.Tensor:
    return 10.0 * torch.log10(torch.clamp(mel, min=1e-10))


def whispers_log(mel: torch.Tensor) -> torch.Tensor:
    """What openai/whisper's log_mel_spectrogram does behind its mel product."""
    log_spec = torch.clamp(mel[..., :-1], min=1e-10).log10()
    log_spec = torch.maximum(log_spec, log_spec.max() - 8.0)
    return (log_spec + 4.0) / 4.0


PLAIN = dict(sample_rate=16_000, n_fft=1024, hop_length=256, n_mels=80)
MAMBA = dict(sample_rate=16_000, n_fft=2048, hop_length=512, pad_mode="constant", n_mels=256, f_min=30.0, f_max=8000.0,
             power=1.0, norm="slaney")  # fmt: skip
WHISPER = dict(sample_rate=16_000, n_fft=400, hop_length=160, n_mels=80, norm="slaney", mel_scale="slaney")
MUQ = dict(sample_rate=24_000, n_fft=2048, hop_length=240, n_mels=128)


def plain_log_mel(n_fft: int = 1024) -> FrontEnd:
    return _compat({**PLAIN, "n_fft": n_fft, "hop_length": n_fft // 4}, "log", clamped_log)


def mamba_amt() -> FrontEnd:
    return _compat(MAMBA, "log", clamped_log)


def whisper() -> FrontEnd:
    return _mel(WHISPER, lambda place: WhisperLogMelTransform().to(place), whispers_log)


def muq() -> FrontEnd:
    return _compat(MUQ, "db", decibels)


def rmvpe(keyshift: float) -> FrontEnd:
    """RMVPE's MelSpectrogram, whose n_fft follows the keyshift."""
    return _dynamic(keyshift, "htk", True, 0.0)


def fcpe(keyshift: float) -> FrontEnd:
    """torchfcpe's wrapper behind its padding, which is the same for everybody."""
    return _dynamic(keyshift, "slaney", False, 1e-9)


def _compat(options: dict[str, Any], scale: str, after: Callable) -> FrontEnd:
    return _mel(options, lambda place: CompatMelSpectrogramTransform(output_scale=scale, **options).to(place), after)


def _mel(options: dict[str, Any], ours: Callable[[str], Features], after: Callable) -> FrontEnd:
    def torchs(place: str) -> Features:
        mel = ComposedMel(**options).to(place)
        return lambda x: after(mel(x))

    return FrontEnd(options["n_fft"], options["hop_length"], options["n_mels"], ours, torchs, options, after)


def _dynamic(keyshift: float, mel_scale: str, center: bool, eps: float) -> FrontEnd:
    def basis() -> torch.Tensor:
        return melscale_fbanks(n_freqs=513, f_min=30 if mel_scale == "htk" else 0, f_max=8000, n_mels=128,
                               sample_rate=16_000, norm="slaney", mel_scale=mel_scale)  # fmt: skip

    def ours(place: str) -> Features:
        padding = dict(pad_mode="reflect") if center else dict(center=False, magnitude_eps=eps)
        module = DynamicMelSpectrogramTransform(sample_rate=16_000, n_fft=1024, hop_length=160,
                                                mel_basis=basis().to(place), output_scale="log", **padding)  # fmt: skip
        return partial(module, keyshift=keyshift)

    def torchs(place: str) -> Features:
        return partial(ComposedDynamicMel(basis(), center, eps).to(place), keyshift=keyshift)

    return FrontEnd(round(1024 * 2 ** (keyshift / 12)), 160, 128, ours, torchs)
