"""The shape of Whisper's audio.py."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from .filterbank import mel

N_FFT = 400
HOP_LENGTH = 160


def load_audio(file, sr=16000):
    return np.load(file)


@cache
def mel_filters(device, n_mels):
    return torch.from_numpy(mel(sr=16000, n_fft=N_FFT, n_mels=n_mels, fmin=0, fmax=None)).to(device)


def log_mel_spectrogram(audio, n_mels=80, padding=0, device=None):
    if not torch.is_tensor(audio):
        if isinstance(audio, str):
            audio = load_audio(audio)
        audio = torch.from_numpy(audio)
    if device is not None:
        audio = audio.to(device)
    if padding > 0:
        audio = F.pad(audio, (0, padding))
    window = torch.hann_window(N_FFT).to(audio.device)
    stft = torch.stft(audio, N_FFT, HOP_LENGTH, window=window, return_complex=True)
    magnitudes = stft[..., :-1].abs() ** 2
    mel_spec = mel_filters(audio.device, n_mels) @ magnitudes
    log_spec = torch.clamp(mel_spec, min=1e-10).log10()
    log_spec = torch.maximum(log_spec, log_spec.max() - 8.0)
    log_spec = (log_spec + 4.0) / 4.0
    return log_spec
