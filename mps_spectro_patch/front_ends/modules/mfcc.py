"""Mel-frequency cepstral coefficients with torchaudio's arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from .. import filterbanks
from ..spec import Scale, decibels
from .mel import CompatMelSpectrogramTransform


class MFCCTransform(torch.nn.Module):
    """Mel-frequency cepstral coefficients: the cosine transform (DCT-II) of a mel spectrogram in dB.

    Arguments, defaults and numbers are those of torchaudio.transforms.MFCC and its create_dct. The mel spectrogram is
    fused (two launches, because of its top_db of 80 over the batch); the cosine transform is torch's matrix product.

    Args:
        sample_rate: Hz.
        n_mfcc: number of coefficients, at most the number of mel bands.
        dct_type: 2.
        norm: "ortho" (orthonormal) or None (2 times the DCT-II).
        log_mels: log(mel + 1e-6) instead of decibels.
        melkwargs: arguments of CompatMelSpectrogramTransform. None: its defaults, with hop_length win_length // 2.
        persistent: whether the buffers are in the state_dict.

    Shape:
        Input [..., time], floating point. Output [..., n_mfcc, frames], float32 (float64 for float64).

    Raises:
        TypeError: melkwargs has an unknown name, or (when called) the input is no floating-point tensor.
        ValueError: the arguments describe no front end, or n_mfcc is larger than the number of mel bands.
        RuntimeError: when called, the input is too short; the error is torch.stft's.

    Example:
        >>> mfcc = msp.MFCCTransform(n_mfcc=20, melkwargs={"n_mels": 64})
        >>> mfcc(torch.randn(2, 16_000)).shape
        torch.Size([2, 20, 81])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mfcc: int = 40,
        dct_type: int = 2,
        norm: Literal["ortho"] | None = "ortho",
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
