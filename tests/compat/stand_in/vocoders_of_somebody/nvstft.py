"""The shape of nvSTFT.py: a class with the caches, here as DDSP-SVC has it, with a shift and a speed."""

import numpy as np
import torch
import torch.nn.functional as F

from .filterbank import mel as librosa_mel_fn


def dynamic_range_compression_torch(x, C=1, clip_val=1e-5):
    return torch.log(torch.clamp(x, min=clip_val) * C)


class STFT:
    def __init__(self, sr=22050, n_mels=80, n_fft=1024, win_size=1024, hop_length=256, fmin=20, fmax=11025):
        self.target_sr, self.n_mels, self.n_fft, self.win_size, self.hop_length = (
            sr,
            n_mels,
            n_fft,
            win_size,
            hop_length,
        )
        self.fmin, self.fmax, self.clip_val = fmin, fmax, 1e-5
        self.mel_basis, self.hann_window = {}, {}

    def get_mel(self, y, keyshift=0, speed=1, center=False):
        factor = 2 ** (keyshift / 12)
        n_fft, win_size = int(np.round(self.n_fft * factor)), int(np.round(self.win_size * factor))
        hop_length = int(np.round(self.hop_length * speed))
        key = str(self.fmax) + "_" + str(y.device)
        if key not in self.mel_basis:
            mel = librosa_mel_fn(
                sr=self.target_sr, n_fft=self.n_fft, n_mels=self.n_mels, fmin=self.fmin, fmax=self.fmax
            )
            self.mel_basis[key] = torch.from_numpy(mel).float().to(y.device)
        window = str(keyshift) + "_" + str(y.device)
        if window not in self.hann_window:
            self.hann_window[window] = torch.hann_window(win_size).to(y.device)
        left = (win_size - hop_length) // 2
        right = max((win_size - hop_length + 1) // 2, win_size - y.size(-1) - left)
        mode = "reflect" if right < y.size(-1) else "constant"
        y = F.pad(y.unsqueeze(1), (left, right), mode=mode)
        y = y.squeeze(1)
        spec = torch.stft(
            y, n_fft, hop_length=hop_length, win_length=win_size, window=self.hann_window[window], center=center,
            pad_mode="reflect", normalized=False, onesided=True, return_complex=True,
        )  # fmt: skip
        spec = torch.sqrt(spec.real.pow(2) + spec.imag.pow(2) + (1e-9))
        if keyshift != 0:
            size, found = self.n_fft // 2 + 1, spec.size(1)
            if found < size:
                spec = F.pad(spec, (0, 0, 0, size - found))
            spec = spec[:, :size, :] * self.win_size / win_size
        spec = torch.matmul(self.mel_basis[key], spec)
        return dynamic_range_compression_torch(spec, clip_val=self.clip_val)
