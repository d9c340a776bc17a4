from torch import nn

from .. import STFTParams

L1 = nn.L1Loss()


class MultiScaleSTFTLoss(nn.Module):
    def __init__(self, window_lengths=(256, 64), loss_fn=L1, clamp_eps=1e-5, mag_weight=1.0, log_weight=1.0, pow=2.0):
        super().__init__()
        self.stft_params = [STFTParams(window_length=w, hop_length=w // 4) for w in window_lengths]
        self.loss_fn, self.clamp_eps, self.pow = loss_fn, clamp_eps, pow
        self.log_weight, self.mag_weight = log_weight, mag_weight

    def forward(self, x, y):
        """Computes multi-scale STFT between an estimate and a reference signal."""
        loss = 0.0
        for s in self.stft_params:
            x.stft(s.window_length, s.hop_length, s.window_type)
            y.stft(s.window_length, s.hop_length, s.window_type)
            loss += self.log_weight * self.loss_fn(
                x.magnitude.clamp(self.clamp_eps).pow(self.pow).log10(),
                y.magnitude.clamp(self.clamp_eps).pow(self.pow).log10(),
            )
            loss += self.mag_weight * self.loss_fn(x.magnitude, y.magnitude)
        return loss


class MelSpectrogramLoss(nn.Module):
    def __init__(
        self, n_mels=(20, 5), window_lengths=(256, 64), loss_fn=L1, clamp_eps=1e-5, mag_weight=1.0,
        log_weight=1.0, pow=2.0, mel_fmin=(0.0, 0.0), mel_fmax=(None, None),
    ):  # fmt: skip
        super().__init__()
        self.stft_params = [STFTParams(window_length=w, hop_length=w // 4) for w in window_lengths]
        self.n_mels, self.loss_fn, self.clamp_eps, self.pow = n_mels, loss_fn, clamp_eps, pow
        self.log_weight, self.mag_weight, self.mel_fmin, self.mel_fmax = log_weight, mag_weight, mel_fmin, mel_fmax

    def forward(self, x, y):
        """Computes mel loss between an estimate and a reference signal."""
        loss = 0.0
        for n_mels, fmin, fmax, s in zip(self.n_mels, self.mel_fmin, self.mel_fmax, self.stft_params):  # noqa: B905
            kwargs = {
                "window_length": s.window_length,
                "hop_length": s.hop_length,
                "window_type": s.window_type,
            }
            x_mels = x.mel_spectrogram(n_mels, mel_fmin=fmin, mel_fmax=fmax, **kwargs)
            y_mels = y.mel_spectrogram(n_mels, mel_fmin=fmin, mel_fmax=fmax, **kwargs)

            loss += self.log_weight * self.loss_fn(
                x_mels.clamp(self.clamp_eps).pow(self.pow).log10(),
                y_mels.clamp(self.clamp_eps).pow(self.pow).log10(),
            )
            loss += self.mag_weight * self.loss_fn(x_mels, y_mels)
        return loss
