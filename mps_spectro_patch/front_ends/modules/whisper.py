"""Whisper's log-mel spectrogram (openai/whisper, audio.py)."""

from __future__ import annotations

import math

import torch

from .. import filterbanks, functional
from ..spec import Scale, resolve
from .base import FrontEndModule


class WhisperLogMelTransform(FrontEndModule):
    """[..., time] at 16 kHz to [..., n_mels, time // 160]: log10(max(mel, 1e-10)), nothing lower than 8 below the
    largest, plus 4, divided by 4; the last frame is left out. Slaney's mel scale and norm, powers, reflected ends.

    per_item: the largest of every waveform (as transformers has it) rather than of the whole input (as openai/whisper).
    """

    def __init__(
        self,
        n_mels: int = 80,
        *,
        n_fft: int = 400,
        hop_length: int = 160,
        sample_rate: int = 16000,
        per_item: bool = False,
        use_mps_kernels: bool = True,
        persistent: bool = False,
    ) -> None:
        scale = Scale(
            "clamp", 1e-10, 1 / math.log(10), below=8.0, scope="item" if per_item else "all", after_factor=0.25,
            after_offset=1.0,
        )  # fmt: skip
        call = resolve(n_fft, hop_length, None, scale=scale, dropped=1)
        basis = filterbanks.melscale_fbanks(
            n_freqs=n_fft // 2 + 1, f_min=0.0, f_max=sample_rate / 2, n_mels=n_mels, sample_rate=sample_rate,
            norm="slaney", mel_scale="slaney",
        )  # fmt: skip
        super().__init__(call, functional.make_window(torch.hann_window, n_fft), basis, use_mps_kernels, persistent)
