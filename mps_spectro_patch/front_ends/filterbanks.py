"""Filterbanks on the mel scale, and the cosine transform of MFCC: made once in float64, on the CPU, then rounded."""

from __future__ import annotations

import math
import warnings
from typing import Literal, get_args

import torch

NORMS = (None, "slaney")
MelScale = Literal["htk", "slaney"]
Norm = Literal["slaney"]
MEL_SCALES = get_args(MelScale)
_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_STEP = math.log(6.4) / 27.0


def melscale_fbanks(
    *,
    n_freqs: int,
    f_min: float,
    f_max: float,
    n_mels: int,
    sample_rate: int,
    norm: Norm | None = None,
    mel_scale: MelScale = "htk",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Triangular filters, equally spaced in mel, over n_freqs bins from 0 Hz to half the sample rate.

    "htk" is the scale of the HTK Book (O'Shaughnessy, 1987): 2595 log10(1 + f / 700). "slaney" is that of Slaney's
    Auditory Toolbox (1998): linear below 1 kHz, logarithmic above (27 bands per factor 6.4). Values are those of
    torchaudio.functional.melscale_fbanks, transposed, and of librosa.filters.mel.

    Args:
        n_freqs: number of bins, n_fft // 2 + 1.
        f_min: lowest frequency, Hz.
        f_max: highest frequency, Hz; at most half the sample rate.
        n_mels: number of bands.
        sample_rate: Hz.
        norm: None, or "slaney": each band is divided by half its width in Hz, so that all have the same area.
        mel_scale: "htk" or "slaney".
        device: where the result is.
        dtype: of the result; computed in float64.

    Returns:
        [n_mels, n_freqs]. If a band has no bin, there is a warning, as in torchaudio.

    Raises:
        ValueError: the arguments describe no filterbank.

    Example:
        >>> msp.melscale_fbanks(n_freqs=513, f_min=0, f_max=8000, n_mels=80, sample_rate=16_000).shape
        torch.Size([80, 513])
    """
    return mel_basis(n_freqs, sample_rate, n_mels, f_min, f_max, norm, mel_scale, device, dtype)


def mel_basis(
    n_freqs: int, sample_rate: float, n_mels: int, f_min: float, f_max: float | None, norm: str | None, mel_scale: str,
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
) -> torch.Tensor:  # fmt: skip
    """melscale_fbanks. f_max: None is half the sample rate."""
    f_max = sample_rate / 2 if f_max is None else f_max
    if mel_scale not in MEL_SCALES:
        raise ValueError(f'mel_scale={mel_scale!r}: expected "htk" or "slaney"')
    if norm not in NORMS:
        raise ValueError(f'norm={norm!r}: expected None or "slaney"')
    if n_mels < 1 or n_freqs < 1:
        raise ValueError(f"a filterbank needs at least one band and one bin, not n_mels={n_mels}, n_freqs={n_freqs}")
    if not sample_rate > 0:
        raise ValueError(f"sample_rate={sample_rate}: expected a positive number of Hz")
    if not 0 <= f_min < f_max:
        raise ValueError(f"Require f_min: {f_min} <= f_max: {f_max}, both from 0 Hz on and different")
    if f_max > sample_rate / 2:
        raise ValueError(f"f_max={f_max} Hz lies above half the sample rate ({sample_rate / 2} Hz): no bin is there")
    options = dict(dtype=torch.float64, device="cpu")
    low, high = hz_to_mel(float(f_min), mel_scale), hz_to_mel(float(f_max), mel_scale)
    edges = _mel_to_hz(torch.linspace(low, high, int(n_mels) + 2, **options), mel_scale)
    basis = _triangles(torch.linspace(0, sample_rate / 2, int(n_freqs), **options), edges)
    if not bool((basis > 0).any(1).all()):
        warnings.warn(
            f"At least one mel filterbank has all zero values. The value for `n_mels` ({n_mels}) may be set too high. "
            f"Or, the value for `n_freqs` ({n_freqs}) may be set too low.",
            stacklevel=3,
        )
    if norm == "slaney":
        basis = basis * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return basis.to(dtype).to(device)


def _triangles(position: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """[edges - 2, positions]: from 0 at one edge to 1 at the next to 0 at the one behind it."""
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (position - left) / (middle - left), (right - position) / (right - middle)
    return torch.minimum(rising, falling).clamp(min=0)


def hz_to_mel(frequency: float, mel_scale: str) -> float:
    """Mel of a frequency in Hz."""
    if mel_scale == "htk":
        return 2595.0 * math.log10(1.0 + frequency / 700.0)
    if frequency < _SLANEY_BREAK_HZ:
        return frequency / _SLANEY_HZ_PER_MEL
    return _SLANEY_BREAK_MEL + math.log(frequency / _SLANEY_BREAK_HZ) / _SLANEY_STEP


def _mel_to_hz(mels: torch.Tensor, mel_scale: str) -> torch.Tensor:
    if mel_scale == "htk":
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    above = _SLANEY_BREAK_HZ * torch.exp(_SLANEY_STEP * (mels - _SLANEY_BREAK_MEL))
    return torch.where(mels < _SLANEY_BREAK_MEL, mels * _SLANEY_HZ_PER_MEL, above)


def kaldi_mel_fbanks(n_mels: int, n_fft: int, sample_rate: float, low_freq: float, high_freq: float) -> torch.Tensor:
    """[n_mels, n_fft // 2 + 1] float32: Kaldi's filters (feat/mel-computations.cc, MelBanks; torchaudio's
    compliance.kaldi.get_mel_banks).

    They are triangles in mel, 1127 ln(1 + f / 700), not in Hz, and leave the last bin out. high_freq <= 0 counts down
    from half the sample rate. Raises ValueError for frequencies that make no filterbank.
    """
    nyquist = sample_rate / 2
    high = high_freq if high_freq > 0 else high_freq + nyquist
    if not 0 <= low_freq < high <= nyquist:
        raise ValueError(f"low_freq={low_freq}, high_freq={high_freq}: expected 0 <= low < high <= {nyquist} Hz")

    def mel(frequency: float) -> float:
        return 1127.0 * math.log1p(frequency / 700.0)

    options = dict(dtype=torch.float64, device="cpu")
    edges = torch.linspace(mel(low_freq), mel(high), n_mels + 2, **options)
    position = 1127.0 * torch.log1p(torch.arange(n_fft // 2, **options) * (sample_rate / n_fft / 700.0))
    return torch.nn.functional.pad(_triangles(position, edges), (0, n_fft // 2 + 1 - len(position))).float()


def cosine_transform(n_mfcc: int, n_mels: int, norm: str | None) -> torch.Tensor:
    """[n_mels, n_mfcc] float32: the DCT-II times 2, or the orthonormal DCT-II for norm "ortho", as
    torchaudio.functional.create_dct. Raises ValueError for another norm."""
    if norm not in (None, "ortho"):
        raise ValueError('norm must be either "ortho" or None')
    position = torch.arange(n_mels, dtype=torch.float64, device="cpu")[:, None]
    order = torch.arange(n_mfcc, dtype=torch.float64, device="cpu")
    basis = torch.cos(math.pi / n_mels * (position + 0.5) * order)
    if norm is None:
        return (2.0 * basis).float()
    basis[:, 0] *= math.sqrt(0.5)
    return (basis * math.sqrt(2.0 / n_mels)).float()
