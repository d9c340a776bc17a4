"""Mel-frequency cepstral coefficients with torchaudio's arguments."""

from __future__ import annotations

from dataclasses import replace

import torch

from .. import filterbanks
from ..spec import Scale, decibels
from .mel import CompatMelSpectrogramTransform


class MFCCTransform(torch.nn.Module):
    """[..., time] to [..., n_mfcc, frames], as torchaudio.transforms.MFCC: the cosine transform of a mel spectrogram in
    dB (top_db 80, over the batch), or with log_mels of log(mel + 1e-6).

    melkwargs: of torchaudio.transforms.MelSpectrogram. The mel spectrogram is fused (two launches, for top_db); the
    cosine transform is a product of torch's. Raises ValueError as torchaudio does.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mfcc: int = 40,
        dct_type: int = 2,
        norm: str | None = "ortho",
        log_mels: bool = False,
        melkwargs: dict | None = None,
        *,
        persistent: bool = False,
    ) -> None:
        super().__init__()
        if dct_type != 2:
            raise ValueError(f"DCT type not supported: {dct_type}")
        arguments = dict(melkwargs or {})
        win_length = arguments.get("win_length") or arguments.get("n_fft", 400)
        if arguments.get("hop_length") is None:
            arguments["hop_length"] = win_length // 2
        self.mel = CompatMelSpectrogramTransform(sample_rate=sample_rate, persistent=persistent, **arguments)
        scale = Scale("add", 1e-6) if log_mels else decibels(10.0, 80.0)  # 10 log10, whatever the power
        self.mel._follow(replace(self.mel.call, scale=scale))
        n_mels = self.mel.basis.shape[0]
        if n_mfcc > n_mels:
            raise ValueError("Cannot select more MFCC coefficients than # mel bins")
        self.register_buffer("dct", filterbanks.cosine_transform(n_mfcc, n_mels, norm), persistent=persistent)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mel = self.mel(x)
        return torch.matmul(mel.transpose(-1, -2), self.dct.to(mel.dtype)).transpose(-1, -2)
