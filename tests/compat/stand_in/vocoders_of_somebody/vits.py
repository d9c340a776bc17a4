"""The shape of VITS's and piper's: caches by dtype, too, and the spectrogram as a function of its own besides."""

import torch

from .filterbank import mel as librosa_mel_fn

mel_basis, hann_window = {}, {}


def dynamic_range_compression_torch(x, C=1, clip_val=1e-5):
    return torch.log(torch.clamp(x, min=clip_val) * C)


def spectrogram_torch(y, n_fft, sampling_rate, hop_size, win_size, center=False):
    if torch.min(y) < -1.0:
        print("min value is ", torch.min(y))
    if torch.max(y) > 1.0:
        print("max value is ", torch.max(y))
    key = str(win_size) + "_" + str(y.dtype) + "_" + str(y.device)
    if key not in hann_window:
        hann_window[key] = torch.hann_window(win_size).type_as(y)
    apart = int((n_fft - hop_size) / 2)
    y = torch.nn.functional.pad(y.unsqueeze(1), (apart, apart), mode="reflect")
    y = y.squeeze(1)
    with torch.autocast(device_type="cuda", dtype=torch.float32, enabled=y.device.type == "cuda"):
        y = y.to(y.device.type, torch.float32)
        spec = torch.stft(
            y, n_fft, hop_length=hop_size, win_length=win_size, window=hann_window[key], center=center,
            pad_mode="reflect", normalized=False, onesided=True, return_complex=False,
        )  # fmt: skip
        return torch.sqrt(spec.pow(2).sum(-1) + 1e-6)


def spec_to_mel_torch(spec, n_fft, num_mels, sampling_rate, fmin, fmax):
    key = str(fmax) + "_" + str(spec.dtype) + "_" + str(spec.device)
    if key not in mel_basis:
        mel = librosa_mel_fn(sr=sampling_rate, n_fft=n_fft, n_mels=num_mels, fmin=fmin, fmax=fmax)
        mel_basis[key] = torch.from_numpy(mel).type_as(spec)
    return dynamic_range_compression_torch(torch.matmul(mel_basis[key], spec))


def mel_spectrogram_torch(y, n_fft, num_mels, sampling_rate, hop_size, win_size, fmin, fmax, center=False):
    """Of both, as in RVC, Applio and so-vits-svc."""
    spec = spectrogram_torch(y, n_fft, sampling_rate, hop_size, win_size, center)
    return spec_to_mel_torch(spec, n_fft, num_mels, sampling_rate, fmin, fmax)
