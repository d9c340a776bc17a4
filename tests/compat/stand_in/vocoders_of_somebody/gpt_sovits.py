"""The shape of GPT-SoVITS's and Applio's: steps in place, or with the two parts; prints from 1.2 on."""

import torch

from .filterbank import mel as librosa_mel_fn

mel_basis, hann_window = {}, {}


def spectral_normalize_torch(x, C=1, clip_val=1e-5):
    return torch.log(torch.clamp(x, min=clip_val) * C)


def mel_spectrogram_torch(y, n_fft, num_mels, sampling_rate, hop_size, win_size, fmin, fmax, center=False):
    if torch.min(y) < -1.2:
        print("min value is ", torch.min(y))
    if torch.max(y) > 1.2:
        print("max value is ", torch.max(y))
    key = "{}-{}-{}-{}-{}-{}".format(str(y.dtype) + "_" + str(y.device), n_fft, num_mels, sampling_rate, hop_size, fmax)
    if key not in mel_basis:
        mel = librosa_mel_fn(sr=sampling_rate, n_fft=n_fft, n_mels=num_mels, fmin=fmin, fmax=fmax)
        mel_basis[key] = torch.from_numpy(mel).to(dtype=y.dtype, device=y.device)
    if key not in hann_window:
        hann_window[key] = torch.hann_window(win_size).to(dtype=y.dtype, device=y.device)
    apart = int((n_fft - hop_size) / 2)
    y = torch.nn.functional.pad(y.unsqueeze(1), (apart, apart), mode="reflect").squeeze(1)
    spec = _spectrum(y, n_fft, hop_size, win_size, hann_window[key], center)
    spec = spec.abs().pow_(2).add_(1e-8).sqrt_()
    return spectral_normalize_torch(torch.matmul(mel_basis[key], spec))


def spectrogram_torch(y, n_fft, hop_size, win_size, center=False):
    key = str(win_size) + "_" + str(y.device)
    if key not in hann_window:
        hann_window[key] = torch.hann_window(win_size).to(dtype=y.dtype, device=y.device)
    apart = int((n_fft - hop_size) / 2)
    y = torch.nn.functional.pad(y.unsqueeze(1), (apart, apart), mode="reflect").squeeze(1)
    source_device = y.device
    if y.device.type == "cuda" and torch.cuda.get_device_name(y.device.index).endswith("[ZLUDA]"):
        y = y.to("cpu")
    spec = _spectrum(y, n_fft, hop_size, win_size, hann_window[key], center).to(source_device)
    return torch.sqrt(spec.real.pow(2) + spec.imag.pow(2) + 1e-6)


def _spectrum(y, n_fft, hop_size, win_size, window, center):
    return torch.stft(
        y, n_fft, hop_length=hop_size, win_length=win_size, window=window, center=center, pad_mode="reflect",
        normalized=False, onesided=True, return_complex=True,
    )  # fmt: skip
