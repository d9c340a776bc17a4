"""The shape of Matcha-TTS's and chatterbox's: caches by fmax and device; arrays, single waveforms and a logger."""

import logging

import numpy as np
import torch

from .filterbank import mel as librosa_mel_fn

logger = logging.getLogger(__name__)
mel_basis, hann_window = {}, {}


def spectral_normalize_torch(x, clip_val=1e-5):
    return torch.log(torch.clamp(x, min=clip_val))


def mel_spectrogram(
    y, n_fft=1024, num_mels=80, sampling_rate=24000, hop_size=256, win_size=1024, fmin=0, fmax=8000, center=False
):
    if isinstance(y, np.ndarray):
        y = torch.tensor(y).float()
    if len(y.shape) == 1:
        y = y[None,]
    low, high = torch.min(y), torch.max(y)
    if low < -1.0 or high > 1.0:
        logger.warning(f"outside: {low.item():.4f} to {high.item():.4f}")
    if f"{str(fmax)}_{str(y.device)}" not in mel_basis:
        mel = librosa_mel_fn(sr=sampling_rate, n_fft=n_fft, n_mels=num_mels, fmin=fmin, fmax=fmax)
        mel_basis[str(fmax) + "_" + str(y.device)] = torch.from_numpy(mel).float().to(y.device)
        hann_window[str(y.device)] = torch.hann_window(win_size).to(y.device)
    apart = int((n_fft - hop_size) / 2)
    y = torch.nn.functional.pad(y.unsqueeze(1), (apart, apart), mode="reflect").squeeze(1)
    spec = torch.view_as_real(
        torch.stft(
            y, n_fft, hop_length=hop_size, win_length=win_size, window=hann_window[str(y.device)], center=center,
            pad_mode="reflect", normalized=False, onesided=True, return_complex=True,
        )
    )  # fmt: skip
    spec = torch.sqrt(spec.pow(2).sum(-1) + (1e-9))
    spec = torch.matmul(mel_basis[str(fmax) + "_" + str(y.device)], spec)
    return spectral_normalize_torch(spec)
