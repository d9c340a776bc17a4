"""A loss of mel spectrograms as a module, with the names, defaults and numbers of descript-audiotools."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from .. import compute, filterbanks
from ..functional import make_window
from ..spec import FrontEnd, Scale
from .base import ExactBuffers

WindowType = Literal["hann", "hamming", "blackman", "bartlett", "sqrt_hann", "average"]


class MelSpectrogramLoss(ExactBuffers):
    """Distance of two waveforms by mel spectrograms of several sizes, with the numbers of descript-audiotools 0.7.

    Arguments and defaults are theirs, too; signals are tensors. The loss is the sum over all sizes of
    log_weight * loss_fn(L(x), L(y)) + mag_weight * loss_fn(M(x), M(y)), where M is librosa's mel filterbank (Slaney's
    scale, equal areas) on the magnitudes of a centred, reflected transform with a hop of a quarter window, and L is
    log10(max(M, clamp_eps)^pow).

    On the kernels each spectrogram is one launch, with one more for its gradient; with mag_weight=0 (as the Descript
    Audio Codec is trained) the logarithm is in the same launch.

    Args:
        n_mels: number of bands, of each size.
        window_lengths: samples of the windows and transforms, of each size.
        loss_fn: takes two tensors [..., bands, frames] and gives their distance. None: torch.nn.L1Loss().
        clamp_eps: smallest magnitude before the logarithm.
        mag_weight: weight of the distance of magnitudes.
        log_weight: weight of the distance of logarithms.
        pow: exponent of the magnitudes before the logarithm.
        weight: for whoever sums up several losses. It changes nothing here, as in audiotools.
        match_stride: changes nothing, as in audiotools' loss.
        mel_fmin: lowest frequency, Hz: one number, or one of each size.
        mel_fmax: highest frequency, Hz: one number, or one of each size. None: half the sample rate.
        window_type: "hann" (None, too), "hamming", "blackman", "bartlett", "sqrt_hann" or "average" (constant).
        sample_rate: Hz. (In audiotools the signals know it.)

    Shape:
        x and y [..., time], floating point. Output: what loss_fn gives, times the weights: a number for the default,
        float32 (float64 for float64).

    Raises:
        ValueError: the lists have different lengths or are empty, clamp_eps is not positive, or window_type is unknown.
        TypeError: when called with tensors that are not floating point.
        RuntimeError: when called, for what torch.stft and loss_fn refuse; the errors are theirs.

    Example:
        >>> loss = msp.MelSpectrogramLoss(n_mels=[20, 40], window_lengths=[256, 512], mag_weight=0.0, pow=1.0)
        >>> x = torch.randn(2, 1, 8000, requires_grad=True)
        >>> loss(x, torch.randn(2, 1, 8000)).backward()
        >>> x.grad.shape
        torch.Size([2, 1, 8000])
    """

    def __init__(
        self,
        n_mels: Sequence[int] = (150, 80),
        window_lengths: Sequence[int] = (2048, 512),
        loss_fn: Callable[[Tensor, Tensor], Tensor] | None = None,
        clamp_eps: float = 1e-5,
        mag_weight: float = 1.0,
        log_weight: float = 1.0,
        pow: float = 2.0,
        weight: float = 1.0,
        match_stride: bool = False,
        mel_fmin: float | Sequence[float] = 0.0,
        mel_fmax: float | Sequence[float | None] | None = None,
        window_type: WindowType | None = None,
        sample_rate: float = 44_100,
    ) -> None:
        super().__init__()
        count = len(window_lengths)
        lists = [n_mels, *(list(one) if isinstance(one, Sequence) else [one] * count for one in (mel_fmin, mel_fmax))]
        if not count or {*map(len, lists)} != {count}:
            raise ValueError(
                "n_mels, window_lengths and lists of mel_fmin and mel_fmax must be of one length, "
                f"not {len(n_mels)}, {count}, {len(lists[1])} and {len(lists[2])}"
            )
        if not clamp_eps > 0:
            raise ValueError(f"clamp_eps={clamp_eps}: expected a positive number")
        if window_type is not None and window_type not in get_args(WindowType):
            names = ", ".join(map(repr, get_args(WindowType)))
            raise ValueError(f"window_type={window_type!r}: expected one of {names}")
        compute.load_operators()
        self.n_mels, self.window_lengths, self.sample_rate = list(n_mels), list(window_lengths), sample_rate
        self.loss_fn = torch.nn.L1Loss() if loss_fn is None else loss_fn
        self.clamp_eps, self.mag_weight, self.log_weight = clamp_eps, mag_weight, log_weight
        self.pow, self.weight, self.match_stride = pow, weight, match_stride
        self.mel_fmin, self.mel_fmax, self.window_type = lists[1], lists[2], window_type
        scale = Scale() if mag_weight else Scale("clamp", float(clamp_eps), pow / math.log(10))
        self._calls = []
        for number, (length, *bands) in enumerate(zip(window_lengths, *lists, strict=True)):
            self._calls.append(FrontEnd(length, length // 4, length, power=1.0, scale=scale))
            self.register_buffer(f"window_{number}", _window(window_type or "hann", length), persistent=False)
            basis = filterbanks.mel_basis(length // 2 + 1, sample_rate, *bands, "slaney", "slaney")
            self.register_buffer(f"basis_{number}", basis.to(torch.float32), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        losses = [self._of_size(number, x, y) for number in range(len(self._calls))]
        return sum(losses[1:], losses[0])

    def extra_repr(self) -> str:
        return f"n_mels={self.n_mels}, window_lengths={self.window_lengths}, sample_rate={self.sample_rate}"

    def _of_size(self, number: int, x: Tensor, y: Tensor) -> Tensor:
        tensors = self._own(f"window_{number}"), self._own(f"basis_{number}")
        if tensors[0].device != x.device:  # they follow the input, and stay there
            tensors = tuple(one.to(x.device) for one in tensors)
            self._buffers[f"window_{number}"], self._buffers[f"basis_{number}"] = tensors
        mels = [compute.compute(one, *tensors, self._calls[number], name="MelSpectrogramLoss") for one in (x, y)]
        if not self.mag_weight:
            return self.log_weight * self.loss_fn(*mels)
        loss = self.mag_weight * self.loss_fn(*mels)
        if self.log_weight:
            logs = (torch.log10(one.clamp(min=self.clamp_eps)) * self.pow for one in mels)
            loss = self.log_weight * self.loss_fn(*logs) + loss
        return loss


def _window(kind: str, length: int) -> Tensor:
    """As scipy.signal.get_window has it, and audiotools' own two."""
    if kind == "average":
        return torch.full((length,), 1 / length, dtype=torch.float32, device="cpu")
    window = make_window(getattr(torch, f"{kind.removeprefix('sqrt_')}_window"), length)
    return (window.sqrt() if kind.startswith("sqrt_") else window).to(torch.float32)
