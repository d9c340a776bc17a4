import torchaudio
from torch import nn


class MelSTFT(nn.Module):
    def __init__(self, fb, n_fft=2048, hop_length=240, is_db=False):
        super().__init__()
        self.mel_stft = torchaudio.transforms.MelSpectrogram(fb, n_fft=n_fft, hop_length=hop_length)
        self.is_db = is_db
        if is_db:
            self.amplitude_to_db = torchaudio.transforms.AmplitudeToDB()

    def forward(self, waveform):
        if self.is_db:
            return self.amplitude_to_db(self.mel_stft(waveform))
        return self.mel_stft(waveform)
