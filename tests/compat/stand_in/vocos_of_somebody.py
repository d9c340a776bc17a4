"""Stand-in for the inverse transform that Vocos and its relatives have."""

import torch
from torch import nn


class ISTFT(nn.Module):
    def __init__(self, n_fft, hop_length, win_length, padding="same"):
        super().__init__()
        self.n_fft, self.hop_length, self.win_length, self.padding = n_fft, hop_length, win_length, padding
        self.register_buffer("window", torch.hann_window(win_length))

    def forward(self, spec):
        if self.padding == "center":
            return torch.istft(spec, self.n_fft, self.hop_length, self.win_length, self.window, center=True)
        elif self.padding == "same":
            pad = (self.win_length - self.hop_length) // 2
        else:
            raise ValueError("no such padding")
        assert spec.dim() == 3, "no batch of spectra"
        B, N, T = spec.shape
        frames = torch.fft.irfft(spec, self.n_fft, dim=1, norm="backward")
        frames = frames * self.window[None, :, None]
        size = (T - 1) * self.hop_length + self.win_length
        y = torch.nn.functional.fold(
            frames, output_size=(1, size), kernel_size=(1, self.win_length), stride=(1, self.hop_length)
        )[:, 0, 0, pad:-pad]
        squares = self.window.square().expand(1, T, -1).transpose(1, 2)
        envelope = torch.nn.functional.fold(
            squares, output_size=(1, size), kernel_size=(1, self.win_length), stride=(1, self.hop_length)
        ).squeeze()[pad:-pad]
        assert (envelope > 1e-11).all()
        y = y / envelope
        return y
