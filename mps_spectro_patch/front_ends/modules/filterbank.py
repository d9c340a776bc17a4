"""Any filterbank over a spectrogram, not only mel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch

from .. import functional
from ..spec import LogMode, Normalized, OutputScale, PadMode, Scope, resolve, resolve_scale
from .base import FrontEndModule


class FilterbankSpectrogramTransform(FrontEndModule):
    """Any filterbank over a spectrogram: scale(filterbank @ |stft(x)|^power).

    Narrow bands are summed in the kernel: one launch. For other filterbanks, the spectrogram is one launch and the
    filterbank torch's matrix product.

    Args:
        filterbank: floating point [n_bands, n_fft // 2 + 1].
        hop_length: samples from one frame to the next.
        n_fft: size of the transform, samples. None: the even size that fits the filterbank.
        win_length: samples of the window, at most n_fft. None: n_fft.
        pad: zeros added to both ends of the waveform first, samples.
        center: pad both ends by n_fft // 2 samples, so that frame t is centred on sample t * hop_length.
        pad_mode: what center pads with: "constant" (zeros), "reflect", "replicate" or "circular".
        power: exponent of the magnitude: 1 for magnitudes, 2 for powers, or any other positive number.
        normalized: True or "frame_length": spectrum over sqrt(n_fft). "window": over the root of the window's energy.
        magnitude_eps: added to the power under the root if power is 1, else to |X|^power.
        output_scale: "linear", "log" (natural logarithm) or "db" (decibels).
        log_amin: smallest value v of "log", see log_mode.
        log_mode: "clamp": log(max(v, log_amin)). "add": log(v + log_amin). "log1p": log(1 + v / log_amin).
        top_db: with "db": no value is more than this many dB below the loudest. None: no such limit.
        top_db_scope: the loudest of the last batch dimension ("batch", as torchaudio) or of each waveform ("item").
        normalize: None, or "per_feature": minus the mean over time, over deviation + 1e-5 (NeMo's normalize_batch).
        window_fn: makes the window from its length, as torch.hann_window does.
        use_mps_kernels: False: torch's own functions on every device.
        persistent: whether the buffers are in the state_dict.
        learnable: the filterbank is a parameter, not a buffer.

    Shape:
        Input [..., time], floating point. Output [..., n_bands, frames], float32 (float64 for float64).

    Raises:
        TypeError: when called, the input is no floating-point tensor.
        ValueError: the arguments describe no front end, or the filterbank has another shape.
        RuntimeError: when called, the input is too short; the error is torch.stft's.

    Example:
        >>> bands = msp.FilterbankSpectrogramTransform(filterbank=torch.rand(12, 201), hop_length=160)
        >>> bands(torch.randn(2, 16_000)).shape
        torch.Size([2, 12, 101])
    """

    def __init__(
        self,
        *,
        filterbank: torch.Tensor,
        hop_length: int,
        n_fft: int | None = None,
        win_length: int | None = None,
        pad: int = 0,
        center: bool = True,
        pad_mode: PadMode = "constant",
        power: float = 2.0,
        normalized: Normalized = False,
        magnitude_eps: float = 0.0,
        output_scale: OutputScale = "linear",
        log_amin: float = 1e-5,
        log_mode: LogMode = "clamp",
        top_db: float | None = 80.0,
        top_db_scope: Scope = "batch",
        normalize: Literal["per_feature"] | None = None,
        window_fn: Callable[..., torch.Tensor] = torch.hann_window,
        use_mps_kernels: bool = True,
        persistent: bool = False,
        learnable: bool = False,
    ) -> None:
        if filterbank.dim() != 2 or filterbank.shape[1] < 2:
            raise ValueError(f"the filterbank must be [bands, freqs], not {list(filterbank.shape)}")
        n_fft = 2 * (filterbank.shape[1] - 1) if n_fft is None else n_fft
        functional.check_basis(filterbank, n_fft)
        if normalize not in (None, "per_feature"):
            raise ValueError(f'normalize={normalize!r}: expected None or "per_feature"')
        scale = resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope)
        scale = replace(scale, deviation_eps=None if normalize is None else 1e-5)
        call = resolve(
            n_fft, hop_length, win_length, center=center, pad_mode=pad_mode, pad=pad, power=power,
            normalized=normalized, scale=scale, eps=magnitude_eps,
        )  # fmt: skip
        window = functional.make_window(window_fn, call.win_length)
        basis = filterbank.detach().to(torch.float32).clone()
        super().__init__(call, window, basis, use_mps_kernels, persistent)
        if learnable:
            del self.basis
            self.basis = torch.nn.Parameter(basis)
