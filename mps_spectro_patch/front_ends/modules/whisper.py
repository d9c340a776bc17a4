"""Whisper's log-mel spectrogram (openai/whisper, audio.py)."""

from __future__ import annotations

import math

import torch

from .. import filterbanks, functional
from ..spec import Scale, resolve
from .base import FrontEndModule


class WhisperLogMelTransform(FrontEndModule):
    """Whisper's features: (max(log10(max(mel, 1e-10)), largest - 8) + 4) / 4, without the last frame.

    This is log_mel_spectrogram of openai/whisper (whisper/audio.py): powers, Slaney's mel scale and norm, a periodic
    Hann window, reflected ends.

    Args:
        n_mels: number of bands: 80, or 128 for large-v3.
        n_fft: size of transform and window, samples.
        hop_length: samples from one frame to the next.
        sample_rate: Hz.
        per_item: `largest` of each waveform, as in transformers, not of the whole input, as in openai/whisper.
        use_mps_kernels: False: torch's own functions on every device.
        persistent: whether the buffers are in the state_dict.

    Shape:
        Input [..., time], floating point, at 16 kHz. Output [..., n_mels, time // 160], float32 (float64 for float64).

    Raises:
        TypeError: when called, the input is no floating-point tensor.
        ValueError: the arguments describe no front end.
        RuntimeError: when called, the input is too short; the error is torch.stft's.

    Example:
        >>> features = msp.WhisperLogMelTransform(n_mels=80)
        >>> features(torch.randn(2, 480_000)).shape
        torch.Size([2, 80, 3000])
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
        basis = filterbanks.mel_basis(n_fft // 2 + 1, sample_rate, n_mels, 0.0, None, "slaney", "slaney")
        super().__init__(call, functional.make_window(torch.hann_window, n_fft), basis, use_mps_kernels, persistent)
