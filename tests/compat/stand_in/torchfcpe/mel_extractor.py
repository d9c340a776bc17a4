import numpy as np
import torch
import torch.nn.functional as F


class HannWindow(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.register_buffer("window", torch.hann_window(size), persistent=False)

    def forward(self):
        return self.window


class MelModule(torch.nn.Module):
    def __init__(self, basis, n_fft=1024, win_size=1024, hop_length=160, clip_val=1e-5, out_stft=False):
        super().__init__()
        self.n_fft, self.win_size, self.hop_length = n_fft, win_size, hop_length
        self.clip_val, self.out_stft = clip_val, out_stft
        self.register_buffer("mel_basis", basis, persistent=False)
        self.hann_window = torch.nn.ModuleDict()

    @torch.no_grad()
    def __call__(self, y, key_shift=0, speed=1, center=False, no_cache_window=False):
        factor = 2 ** (key_shift / 12)
        n_fft, win_size = int(np.round(self.n_fft * factor)), int(np.round(self.win_size * factor))
        hop_length = int(np.round(self.hop_length * speed))
        y = y.squeeze(-1)
        if torch.min(y) < -1:
            print("too low:", torch.min(y))
        if torch.max(y) > 1:
            print("too high:", torch.max(y))
        if no_cache_window:
            window = torch.hann_window(win_size).to(self.mel_basis.device)
        else:
            if str(key_shift) not in self.hann_window:
                self.hann_window[str(key_shift)] = HannWindow(win_size).to(self.mel_basis.device)
            window = self.hann_window[str(key_shift)]()
        left = (win_size - hop_length) // 2
        right = max((win_size - hop_length + 1) // 2, win_size - y.size(-1) - left)
        mode = "reflect" if right < y.size(-1) else "constant"
        y = F.pad(y.unsqueeze(1), (left, right), mode=mode).squeeze(1)
        spectrum = torch.stft(y, n_fft, hop_length=hop_length, win_length=win_size, window=window, center=center,
                              pad_mode="reflect", return_complex=True)  # fmt: skip
        magnitude = torch.sqrt(spectrum.real.pow(2) + spectrum.imag.pow(2) + 1e-9)
        if key_shift != 0:
            size = self.n_fft // 2 + 1
            magnitude = F.pad(magnitude, (0, 0, 0, max(0, size - magnitude.size(1))))
            magnitude = magnitude[:, :size, :] * self.win_size / win_size
        mel = magnitude[:, :512, :] if self.out_stft else torch.matmul(self.mel_basis, magnitude)
        return torch.log(torch.clamp(mel, min=self.clip_val)).transpose(-1, -2)


class MelExtractor:
    def __init__(self, basis, n_fft=1024, win_size=1024, hop_length=160, fmax=8000, clip_val=1e-5):
        self.n_fft, self.win_size, self.hop_length = n_fft, win_size, hop_length
        self.fmax, self.clip_val = fmax, clip_val
        self.make_basis = lambda: basis.clone()
        self.mel_basis, self.hann_window = {}, {}

    @torch.no_grad()
    def __call__(self, y, key_shift=0, speed=1, center=False, no_cache_window=False):
        factor = 2 ** (key_shift / 12)
        n_fft, win_size = int(np.round(self.n_fft * factor)), int(np.round(self.win_size * factor))
        hop_length = int(np.round(self.hop_length * speed))
        bases, windows = ({}, {}) if no_cache_window else (self.mel_basis, self.hann_window)
        y = y.squeeze(-1)
        if torch.min(y) < -1:
            print("too low:", torch.min(y))
        if torch.max(y) > 1:
            print("too high:", torch.max(y))
        basis_key, window_key = f"{self.fmax}_{y.device}", f"{key_shift}_{y.device}"
        if basis_key not in bases:
            bases[basis_key] = self.make_basis().to(y.device)
        if window_key not in windows:
            windows[window_key] = torch.hann_window(win_size).to(y.device)
        left = (win_size - hop_length) // 2
        right = max((win_size - hop_length + 1) // 2, win_size - y.size(-1) - left)
        mode = "reflect" if right < y.size(-1) else "constant"
        y = F.pad(y.unsqueeze(1), (left, right), mode=mode).squeeze(1)
        spectrum = torch.stft(y, n_fft, hop_length=hop_length, win_length=win_size, window=windows[window_key],
                              center=center, pad_mode="reflect", return_complex=True)  # fmt: skip
        magnitude = torch.sqrt(spectrum.real.pow(2) + spectrum.imag.pow(2) + 1e-9)
        if key_shift != 0:
            size = self.n_fft // 2 + 1
            magnitude = F.pad(magnitude, (0, 0, 0, max(0, size - magnitude.size(1))))
            magnitude = magnitude[:, :size, :] * self.win_size / win_size
        mel = torch.matmul(bases[basis_key], magnitude)
        return torch.log(torch.clamp(mel, min=self.clip_val)).transpose(-1, -2)
