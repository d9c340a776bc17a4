"""STFT losses as modules, with the names, arguments and numbers of auraloss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from .. import compute, filterbanks
from ..losses import LossCall, loss_call, mean_of, try_fused, try_mean, weighted_terms
from .base import ExactBuffers, is_its_class_alone

Output = Literal["loss", "full"]
Reduction = Literal["none", "mean", "sum"]
MagnitudeDistance = Literal["L1", "L2"]
Window = Literal["hann_window", "bartlett_window", "blackman_window", "hamming_window", "kaiser_window"]

_DISTANCES = {"L1": torch.nn.functional.l1_loss, "L2": torch.nn.functional.mse_loss}
_TAPS = 101  # of the A-weighting filter


class STFTLoss(ExactBuffers):
    """Distance of two waveforms by the magnitudes of their spectra, with the arguments and numbers of auraloss 0.4.

    The magnitudes x of the input and y of the target are sqrt(max(|X|^2, eps)) of a centred, reflected transform. The
    loss is w_sc * |y - x| / |y| (spectral convergence: Arik et al., 2018, https://arxiv.org/abs/1808.06719; norms over
    the whole batch) + w_log_mag * mean |log x - log y| + w_lin_mag * mean |x - y| + w_phs * mean (arg X - arg Y)^2, as
    Yamamoto et al. (2019, https://arxiv.org/abs/1904.04472) combine them.

    On the kernels, float32 signals of one shape take two launches, and the gradient of the input one, with no spectrum
    or magnitude in memory. w_phs, scale, scale_invariance and reduction="none" are composed of torch's functions.

    Args:
        fft_size: samples of a transform.
        hop_size: samples from one frame to the next.
        win_length: samples of the window, at most fft_size.
        window: name of a function of torch that makes the window: "hann_window", "hamming_window", "blackman_window",
            "bartlett_window" or "kaiser_window".
        w_sc: weight of spectral convergence.
        w_log_mag: weight of the distance of logarithms.
        w_lin_mag: weight of the distance of magnitudes.
        w_phs: weight of the squared distance of phases, radians.
        sample_rate: Hz. For scale and perceptual_weighting only.
        scale: None, or "mel": magnitudes are multiplied by librosa's filterbank (Slaney's scale, equal areas) first.
        n_bins: number of bands of scale.
        perceptual_weighting: filter both signals with an A-weighting of 101 taps first. Needs scipy.
        scale_invariance: multiply the target's magnitudes, in each row, by what brings them nearest to the input's.
        eps: magnitudes are at least its root.
        output: "loss", or "full": also the terms.
        reduction: over the bins: "mean", "sum" or "none" (a loss for each bin).
        mag_distance: "L1", or "L2" (squares) for the distances of logarithms and magnitudes.
        device: where the filterbank is made. It follows the input.

    Shape:
        Input and target [batch, channels, time], or [..., time], floating point. Output: a number, float32 (float64 for
        float64); with reduction="none" [rows, bins, frames]. With output="full" a tuple: loss, spectral convergence,
        log magnitude, linear magnitude, phase. A term of weight 0 is the float 0.0.

    Raises:
        ValueError: scale, output, reduction or mag_distance is none of those above; sample_rate or n_bins is missing.
        ImportError: perceptual_weighting without scipy.
        RuntimeError: when called, for what torch.stft and torch's losses refuse; the errors are theirs.

    Example:
        >>> loss = msp.STFTLoss(fft_size=512, hop_size=128, win_length=512)
        >>> x = torch.randn(2, 1, 8000, requires_grad=True)
        >>> loss(x, torch.randn(2, 1, 8000)).backward()
        >>> x.grad.shape
        torch.Size([2, 1, 8000])
    """

    def __init__(
        self,
        fft_size: int = 1024,
        hop_size: int = 256,
        win_length: int = 1024,
        window: Window = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        sample_rate: float | None = None,
        scale: Literal["mel"] | None = None,
        n_bins: int | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        eps: float = 1e-8,
        output: Output = "loss",
        reduction: Reduction = "mean",
        mag_distance: MagnitudeDistance = "L1",
        device: Any = None,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("scale", scale, (None, "mel")),
            ("output", output, get_args(Output)),
            ("reduction", reduction, get_args(Reduction)),
            ("mag_distance", mag_distance, get_args(MagnitudeDistance)),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}")
        if sample_rate is None and (scale is not None or perceptual_weighting):
            raise ValueError("scale and perceptual_weighting need a sample_rate")
        if scale is not None and n_bins is None:
            raise ValueError("scale needs n_bins")
        compute.load_operators()
        self.fft_size, self.hop_size, self.win_length = fft_size, hop_size, win_length
        self.w_sc, self.w_log_mag, self.w_lin_mag, self.w_phs = w_sc, w_log_mag, w_lin_mag, w_phs
        self.sample_rate, self.scale, self.n_bins = sample_rate, scale, n_bins
        self.perceptual_weighting, self.scale_invariance = perceptual_weighting, scale_invariance
        self.eps, self.output, self.reduction, self.mag_distance = eps, output, reduction, mag_distance
        made = getattr(torch, window)(win_length, dtype=torch.float32, device="cpu")
        self.register_buffer("window", made, persistent=False)
        if scale is not None:
            bands = filterbanks.mel_basis(fft_size // 2 + 1, sample_rate, n_bins, 0.0, None, "slaney", "slaney")
            self.register_buffer("fb", bands.unsqueeze(0).to(device))
        if perceptual_weighting:
            self.register_buffer("fir", _a_weighting(sample_rate).reshape(1, 1, -1), persistent=False)

    def forward(self, input: Tensor, target: Tensor) -> Tensor | tuple:
        if self.perceptual_weighting:
            input, target = self._weighted(input), self._weighted(target)
        window = self._following("window", input)
        found = try_fused(input, target, window, self._call()) if self._is_plain() else None
        if found is None:
            return self._composed(input, target, window)
        loss, terms = found
        if self.output == "loss":
            return loss
        return loss, *weighted_terms(terms, (self.w_sc, self.w_log_mag, self.w_lin_mag)), 0.0

    def extra_repr(self) -> str:
        return f"fft_size={self.fft_size}, hop_size={self.hop_size}, win_length={self.win_length}"

    def _means_alone(self) -> bool:
        """Whether nothing but the loss is wanted, of the signals as they are."""
        return self._is_plain() and self.output == "loss" and not self.perceptual_weighting

    def _is_plain(self) -> bool:
        return not (self.w_phs or self.scale_invariance or self.scale is not None or self.reduction == "none")

    def _call(self) -> LossCall:
        return loss_call(
            self.fft_size, self.hop_size, self.win_length, self.eps, self.w_sc, self.w_log_mag, self.w_lin_mag,
            squared=self.mag_distance == "L2", mean=self.reduction == "mean",
        )  # fmt: skip

    def _following(self, name: str, input: Tensor) -> Tensor:
        """The buffer on the input's device, where it stays."""
        buffer = self._own(name)
        if buffer.device != input.device:
            buffer = self._buffers[name] = buffer.to(input.device)
        return buffer

    def _weighted(self, signal: Tensor) -> Tensor:
        taps = self._following("fir", signal).to(signal.dtype)
        rows = signal.reshape(-1, 1, signal.shape[-1])
        return torch.nn.functional.conv1d(rows, taps, padding=_TAPS // 2).reshape(signal.shape)

    def _composed(self, input: Tensor, target: Tensor, window: Tensor) -> Tensor | tuple:
        """By torch's functions, step by step as auraloss has it."""
        spectra = [self._spectrum(signal, window) for signal in (input, target)]
        x, y = (torch.sqrt(torch.clamp(one.real**2 + one.imag**2, min=self.eps)) for one in spectra)
        if self.scale is not None:
            bands = self._following("fb", input).to(x.dtype)
            x, y = bands @ x, bands @ y
        if self.scale_invariance:
            y = y * ((x * y).sum([-2, -1]) / (y**2).sum([-2, -1]))[..., None, None]
        distance = _DISTANCES[self.mag_distance]
        sc = torch.norm(y - x, p="fro") / torch.norm(y, p="fro") if self.w_sc else 0.0
        log = distance(torch.log(x), torch.log(y), reduction=self.reduction) if self.w_log_mag else 0.0
        linear = distance(x, y, reduction=self.reduction) if self.w_lin_mag else 0.0
        phase = torch.nn.functional.mse_loss(*(torch.angle(one) for one in spectra)) if self.w_phs else 0.0
        weights = self.w_sc, self.w_log_mag, self.w_lin_mag, self.w_phs
        parts = zip(weights, (sc, log, linear, phase), strict=True)
        # torch's forward mode takes a number times a tensor without dimensions for a double, which MPS has not.
        loss = sum(weight * (torch.atleast_1d(part) if weight else part) for weight, part in parts)
        if self.reduction != "none":
            loss = loss.mean() if self.reduction == "mean" else loss.sum()
        elif loss.dim() == 1:
            loss = loss[0]
        return loss if self.output == "loss" else (loss, sc, log, linear, phase)

    def _spectrum(self, signal: Tensor, window: Tensor) -> Tensor:
        rows = signal.reshape(-1, signal.shape[-1])
        return torch.stft(rows, self.fft_size, self.hop_size, self.win_length, window, return_complex=True)


class MultiResolutionSTFTLoss(torch.nn.Module):
    """The mean of several STFTLoss of different sizes, with the arguments and numbers of auraloss 0.4.

    Proposed by Yamamoto et al. (2020), "Parallel WaveGAN", https://arxiv.org/abs/1910.11480.

    Args:
        fft_sizes: samples of a transform, of each loss.
        hop_sizes: samples from one frame to the next.
        win_lengths: samples of the windows.
        window: name of a function of torch that makes the windows.
        w_sc: weight of spectral convergence.
        w_log_mag: weight of the distance of logarithms.
        w_lin_mag: weight of the distance of magnitudes.
        w_phs: weight of the squared distance of phases.
        sample_rate: Hz. For scale and perceptual_weighting only.
        scale: None or "mel", as in STFTLoss.
        n_bins: number of bands of scale.
        perceptual_weighting: A-weighting, as in STFTLoss.
        scale_invariance: as in STFTLoss.
        kwargs: further arguments of STFTLoss.

    Shape:
        As STFTLoss. With output="full" a tuple: loss, and lists of each term, one number per size.

    Raises:
        ValueError: the three lists have different lengths or are empty; and as STFTLoss.
        RuntimeError: when called, as STFTLoss.

    Example:
        >>> loss = msp.MultiResolutionSTFTLoss()
        >>> x = torch.randn(2, 1, 8000)
        >>> float(loss(x, x))
        0.0
    """

    def __init__(
        self,
        fft_sizes: Sequence[int] = (1024, 2048, 512),
        hop_sizes: Sequence[int] = (120, 240, 50),
        win_lengths: Sequence[int] = (600, 1200, 240),
        window: Window = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        sample_rate: float | None = None,
        scale: Literal["mel"] | None = None,
        n_bins: int | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if not len(fft_sizes) == len(hop_sizes) == len(win_lengths) > 0:
            raise ValueError(
                f"fft_sizes, hop_sizes and win_lengths must be of one length, "
                f"not {len(fft_sizes)}, {len(hop_sizes)} and {len(win_lengths)}"
            )
        self.fft_sizes, self.hop_sizes, self.win_lengths = fft_sizes, hop_sizes, win_lengths
        self.stft_losses = torch.nn.ModuleList(
            STFTLoss(
                *sizes, window, w_sc, w_log_mag, w_lin_mag, w_phs, sample_rate, scale, n_bins, perceptual_weighting,
                scale_invariance, **kwargs,
            )
            for sizes in zip(fft_sizes, hop_sizes, win_lengths, strict=True)
        )  # fmt: skip

    def forward(self, x: Tensor, y: Tensor) -> Tensor | tuple:
        mean = None if is_dynamo_compiling() else self._mean(x, y)
        if mean is not None:
            return mean
        found = [loss(x, y) for loss in self.stft_losses]
        if self.stft_losses[0].output == "loss":
            return sum(found[1:], found[0]) / len(found)
        losses, *terms = (list(parts) for parts in zip(*found, strict=True))
        return sum(losses[1:], losses[0]) / len(losses), *terms

    def _mean(self, x: Tensor, y: Tensor) -> Tensor | None:
        """The mean of the losses, where each is known by now; None: each for itself."""
        parts = list(self.stft_losses._modules.values())
        if not all(type(one) is STFTLoss and is_its_class_alone(one) and one._means_alone() for one in parts):
            return None
        calls = mean_of(*(one._call() for one in parts))
        return try_mean(x, y, [one._own("window") for one in parts], calls, "MultiResolutionSTFTLoss")


def _a_weighting(sample_rate: float) -> Tensor:
    """[taps]: the digital filter that is fitted to the A-weighting of IEC 61672, as in auraloss."""
    try:
        import numpy as np
        import scipy.signal
    except ImportError as error:
        raise ImportError("perceptual_weighting needs scipy: pip install scipy") from error
    f1, f2, f3, f4 = (2 * np.pi * hz for hz in (20.598997, 107.65265, 737.86223, 12194.217))
    poles = np.polymul([1, 2 * f4, f4**2], [1, 2 * f1, f1**2])
    poles = np.polymul(np.polymul(poles, [1, f3]), [1, f2])
    gain = f4**2 * 10 ** (1.9997 / 20)
    b, a = scipy.signal.bilinear([gain, 0, 0, 0, 0], poles, fs=sample_rate)
    hz, response = scipy.signal.freqz(b, a, worN=512, fs=sample_rate)
    taps = scipy.signal.firls(_TAPS, hz, abs(response), fs=sample_rate)
    return torch.tensor(taps, dtype=torch.float32, device="cpu")
