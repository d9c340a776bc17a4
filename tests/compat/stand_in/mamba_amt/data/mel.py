import torch
import torchaudio


class MelSpectrogram(torch.nn.Module):
    def __init__(self, fb, n_fft=2048, hop_length=512):
        super().__init__()
        self.mel_transform = torchaudio.transforms.MelSpectrogram(
            fb, n_fft=n_fft, hop_length=hop_length, pad_mode="constant", power=1.0
        )

    def forward(self, y):
        mel = self.mel_transform(y)
        return torch.log(torch.clamp(mel, min=1e-5))
