"""Any filterbank over a spectrogram, not only mel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from .. import functional
from ..spec import resolve, resolve_scale
from .base import FrontEndModule


class FilterbankSpectrogramTransform(FrontEndModule):
    """[..., time] to [..., n_bands, frames]: scale(filterbank @ |stft|^power).

    filterbank: [n_bands, n_fft // 2 + 1], which also gives n_fft unless that is odd. Narrow bands are summed up in the
    kernel, in one launch; others take one launch for the spectrogram and one product. learnable: the filterbank is a
    parameter. normalize "per_feature": features less their mean over time, divided by their deviation plus 1e-5, as
    NeMo does it. For the rest see functional.mel_spectrogram. Raises ValueError for a filterbank of another shape.
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
        pad_mode: str = "constant",
        power: float = 2.0,
        normalized: bool | str = False,
        magnitude_eps: float = 0.0,
        output_scale: str = "linear",
        log_amin: float = 1e-5,
        log_mode: str = "clamp",
        top_db: float | None = 80.0,
        top_db_scope: str = "batch",
        normalize: str | None = None,
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
