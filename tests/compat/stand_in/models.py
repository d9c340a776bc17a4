import torch
import torchaudio


class FrameEncoder(torch.nn.Module):
    def __init__(self, fb, n_fft=1024, hop_length=256):
        super().__init__()
        self.spec = torchaudio.transforms.MelSpectrogram(fb, n_fft=n_fft, hop_length=hop_length)
        self.amplitude_to_db = torchaudio.transforms.AmplitudeToDB()
        self.frontend = torch.nn.Conv1d(fb.shape[1], 16, 3)
        self.scale = torch.nn.Parameter(torch.tensor(0.1))
        self.mlp_head = torch.nn.Linear(16, 8)

    def forward(self, x):
        x = self.spec(x)
        x = self.amplitude_to_db(x)
        x = self.frontend(x) * self.scale
        return self.mlp_head(x.mean(-1))
