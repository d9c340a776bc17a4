"""The shape of BigVGAN's and F5-TTS's: caches by all arguments, other names of arguments."""

import torch

from .filterbank import mel as librosa_mel_fn

mel_basis_cache, hann_window_cache = {}, {}


def get_bigvgan_mel_spectrogram(
    waveform, n_fft=1024, n_mel_channels=100, target_sample_rate=24000, hop_length=256, win_length=1024, fmin=0,
    fmax=None, center=False,
):  # fmt: skip
    device = waveform.device
    key = f"{n_fft}_{n_mel_channels}_{target_sample_rate}_{hop_length}_{win_length}_{fmin}_{fmax}_{device}"
    if key not in mel_basis_cache:
        mel = librosa_mel_fn(sr=target_sample_rate, n_fft=n_fft, n_mels=n_mel_channels, fmin=fmin, fmax=fmax)
        mel_basis_cache[key] = torch.from_numpy(mel).float().to(device)
        hann_window_cache[key] = torch.hann_window(win_length).to(device)
    mel_basis, hann_window = mel_basis_cache[key], hann_window_cache[key]
    padding = (n_fft - hop_length) // 2
    waveform = torch.nn.functional.pad(waveform.unsqueeze(1), (padding, padding), mode="reflect").squeeze(1)
    spec = torch.stft(
        waveform, n_fft, hop_length=hop_length, win_length=win_length, window=hann_window, center=center,
        pad_mode="reflect", normalized=False, onesided=True, return_complex=True,
    )  # fmt: skip
    spec = torch.sqrt(torch.view_as_real(spec).pow(2).sum(-1) + 1e-9)
    return torch.log(torch.clamp(torch.matmul(mel_basis, spec), min=1e-5))


class MelSpec(torch.nn.Module):
    """Keeps the function that it calls."""

    def __init__(self):
        super().__init__()
        self.extractor = get_bigvgan_mel_spectrogram

    def forward(self, wav):
        return self.extractor(waveform=wav)
