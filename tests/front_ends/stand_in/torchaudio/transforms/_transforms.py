import math

import torch
from torch import Tensor

from torchaudio import functional as F


class Spectrogram(torch.nn.Module):
    def __init__(
        self, n_fft: int = 400, hop_length: int | None = None, pad: int = 0, power: float | None = 2.0,
        normalized: bool | str = False, center: bool = True, pad_mode: str = "reflect", onesided: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_fft, self.win_length, self.hop_length = n_fft, n_fft, n_fft // 2 if hop_length is None else hop_length
        self.register_buffer("window", torch.hann_window(n_fft))
        self.pad, self.power, self.normalized = pad, power, normalized
        self.center, self.pad_mode, self.onesided = center, pad_mode, onesided

    def forward(self, waveform: Tensor) -> Tensor:
        return F.spectrogram(
            waveform, self.pad, self.window, self.n_fft, self.hop_length, self.win_length, self.power, self.normalized,
            self.center, self.pad_mode, self.onesided,
        )  # fmt: skip


class MelScale(torch.nn.Module):
    def __init__(self, fb: Tensor) -> None:
        super().__init__()
        self.register_buffer("fb", fb)

    def forward(self, specgram: Tensor) -> Tensor:
        return torch.matmul(specgram.transpose(-1, -2), self.fb).transpose(-1, -2)


class MelSpectrogram(torch.nn.Module):
    def __init__(self, fb: Tensor, **options) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(**options)
        self.mel_scale = MelScale(fb)

    def forward(self, waveform: Tensor) -> Tensor:
        specgram = self.spectrogram(waveform)
        mel_specgram = self.mel_scale(specgram)
        return mel_specgram


class AmplitudeToDB(torch.nn.Module):
    def __init__(self, stype: str = "power", top_db: float | None = None) -> None:
        super().__init__()
        self.top_db = top_db
        self.multiplier = 10.0 if stype == "power" else 20.0
        self.amin, self.ref_value = 1e-10, 1.0
        self.db_multiplier = math.log10(max(self.amin, self.ref_value))

    def forward(self, x: Tensor) -> Tensor:
        return F.amplitude_to_DB(x, self.multiplier, self.amin, self.db_multiplier, self.top_db)


class MFCC(torch.nn.Module):
    def __init__(self, fb: Tensor, n_mfcc: int, log_mels: bool = False, **options) -> None:
        super().__init__()
        self.amplitude_to_DB = AmplitudeToDB("power", 80.0)
        self.MelSpectrogram = MelSpectrogram(fb, **options)
        self.register_buffer("dct_mat", torch.randn(fb.shape[1], n_mfcc))
        self.log_mels = log_mels

    def forward(self, waveform: Tensor) -> Tensor:
        mel_specgram = self.MelSpectrogram(waveform)
        if self.log_mels:
            mel_specgram = torch.log(mel_specgram + 1e-6)
        else:
            mel_specgram = self.amplitude_to_DB(mel_specgram)
        return torch.matmul(mel_specgram.transpose(-1, -2), self.dct_mat).transpose(-1, -2)
