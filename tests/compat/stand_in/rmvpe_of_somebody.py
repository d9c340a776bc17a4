import numpy as np
import torch
import torch.nn.functional as F


class MelSpectrogram(torch.nn.Module):
    def __init__(self, basis, is_half=False, win_length=1024, hop_length=160, n_fft=None, clamp=1e-5):
        super().__init__()
        self.register_buffer("mel_basis", basis)
        self.hann_window = {}
        self.n_fft = win_length if n_fft is None else n_fft
        self.win_length, self.hop_length, self.clamp, self.is_half = win_length, hop_length, clamp, is_half

    def forward(self, audio, keyshift=0, speed=1, center=True):
        factor = 2 ** (keyshift / 12)
        win_length = int(np.round(self.win_length * factor))
        key = str(keyshift) + "_" + str(audio.device)
        if key not in self.hann_window:
            self.hann_window[key] = torch.hann_window(win_length).to(audio.device)
        spectrum = torch.stft(
            audio,
            n_fft=int(np.round(self.n_fft * factor)),
            hop_length=int(np.round(self.hop_length * speed)),
            win_length=win_length,
            window=self.hann_window[key],
            center=center,
            return_complex=True,
        )
        magnitude = torch.sqrt(spectrum.real.pow(2) + spectrum.imag.pow(2))
        if keyshift != 0:
            size, found = self.n_fft // 2 + 1, magnitude.size(1)
            if found < size:
                magnitude = F.pad(magnitude, (0, 0, 0, size - found))
            magnitude = magnitude[:, :size, :] * self.win_length / win_length
        mel = torch.matmul(self.mel_basis, magnitude)
        if self.is_half == True:  # noqa: E712  # as it is spelt there
            mel = mel.half()
        return torch.log(torch.clamp(mel, min=self.clamp))
