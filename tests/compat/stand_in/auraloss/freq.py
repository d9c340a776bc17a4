"""STFT losses with the names by which compat knows auraloss's, as short as they can be."""

import torch

from .utils import apply_reduction


class SpectralConvergenceLoss(torch.nn.Module):
    def forward(self, x_mag, y_mag):
        return torch.norm(y_mag - x_mag, p="fro") / torch.norm(y_mag, p="fro")


class STFTMagnitudeLoss(torch.nn.Module):
    def __init__(self, log, distance, reduction):
        super().__init__()
        self.log = log
        self.distance = (torch.nn.L1Loss if distance == "L1" else torch.nn.MSELoss)(reduction=reduction)

    def forward(self, x_mag, y_mag):
        if self.log:
            x_mag, y_mag = torch.log(x_mag), torch.log(y_mag)
        return self.distance(x_mag, y_mag)


class STFTLoss(torch.nn.Module):
    def __init__(
        self, fft_size=64, hop_size=16, win_length=48, w_sc=1.0, w_log_mag=1.0, w_lin_mag=0.0, w_phs=0.0, scale=None,
        scale_invariance=False, eps=1e-8, output="loss", reduction="mean", mag_distance="L1",
    ):  # fmt: skip
        super().__init__()
        self.fft_size, self.hop_size, self.win_length = fft_size, hop_size, win_length
        self.window = torch.hann_window(win_length)
        self.w_sc, self.w_log_mag, self.w_lin_mag, self.w_phs = w_sc, w_log_mag, w_lin_mag, w_phs
        self.scale, self.scale_invariance, self.eps = scale, scale_invariance, eps
        self.output, self.reduction, self.device = output, reduction, None
        self.spectralconv = SpectralConvergenceLoss()
        self.logstft = STFTMagnitudeLoss(True, mag_distance, reduction)
        self.linstft = STFTMagnitudeLoss(False, mag_distance, reduction)

    def stft(self, x):
        spectrum = torch.stft(x, self.fft_size, self.hop_size, self.win_length, self.window, return_complex=True)
        magnitude = torch.sqrt(torch.clamp(spectrum.real**2 + spectrum.imag**2, min=self.eps))
        return magnitude, torch.angle(spectrum)

    def forward(self, input, target):
        self.window = self.window.to(self.device or input.device)
        x_mag, x_phs = self.stft(input.view(-1, input.size(-1)))
        y_mag, y_phs = self.stft(target.view(-1, target.size(-1)))
        if self.scale is not None:
            x_mag, y_mag = torch.matmul(self.scale, x_mag), torch.matmul(self.scale, y_mag)
        if self.scale_invariance:
            y_mag = y_mag * ((x_mag * y_mag).sum([-2, -1]) / (y_mag**2).sum([-2, -1])).unsqueeze(-1)
        sc = self.spectralconv(x_mag, y_mag) if self.w_sc else 0.0
        log = self.logstft(x_mag, y_mag) if self.w_log_mag else 0.0
        lin = self.linstft(x_mag, y_mag) if self.w_lin_mag else 0.0
        phs = torch.nn.functional.mse_loss(x_phs, y_phs) if self.w_phs else 0.0
        loss = self.w_sc * sc + self.w_log_mag * log + self.w_lin_mag * lin + self.w_phs * phs
        loss = apply_reduction(loss, reduction=self.reduction)
        if self.output == "loss":
            return loss
        elif self.output == "full":
            return loss, sc, log, lin, phs


class MultiResolutionSTFTLoss(torch.nn.Module):
    def __init__(self, fft_sizes=(64, 128), hop_sizes=(16, 20), win_lengths=(48, 100), **kwargs):
        super().__init__()
        sizes = zip(fft_sizes, hop_sizes, win_lengths, strict=True)
        self.stft_losses = torch.nn.ModuleList([STFTLoss(*one, **kwargs) for one in sizes])

    def forward(self, x, y):
        total, parts = 0.0, ([], [], [], [])
        for loss in self.stft_losses:
            found = loss(x, y)
            if loss.output == "full":
                total += found[0]
                parts[0].append(found[1])
                parts[1].append(found[2])
                parts[2].append(found[3])
                parts[3].append(found[4])
            else:
                total += found
        total /= len(self.stft_losses)
        return total if loss.output == "loss" else (total, *parts)
