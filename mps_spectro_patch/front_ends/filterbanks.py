"""Filterbanks on the mel scale, and the cosine transform of MFCC: made once in float64, on the CPU, then rounded.

Formulas: O'Shaughnessy's mel scale ("htk": m = 2595 log10(1 + f / 700)) and Slaney's Auditory Toolbox (linear below
1 kHz, 27 steps per factor 6.4 above), as torchaudio and librosa have them.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import torch

NORMS = (None, "slaney")
MEL_SCALES = ("htk", "slaney")
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
    norm: str | None = None,
    mel_scale: str = "htk",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """[n_mels, n_freqs]: triangles that are equally wide and spaced in mel, over bins from 0 to half the sample rate.

    f_min, f_max: Hz. norm "slaney": each triangle is divided by half its width in Hz, so that all have the same area.
    (torchaudio.functional.melscale_fbanks is the transpose of this.) Raises ValueError for arguments that make no
    filterbank; warns as torchaudio does where a band is empty.
    """
    check_mel(n_freqs, f_min, f_max, n_mels, sample_rate, norm, mel_scale)
    values = _mel_basis(int(n_freqs), float(f_min), float(f_max), int(n_mels), float(sample_rate), norm, mel_scale)
    if not bool((values > 0).any(1).all()):
        warnings.warn(
            "At least one mel filterbank has all zero values. "
            f"The value for `n_mels` ({n_mels}) may be set too high. "
            f"Or, the value for `n_freqs` ({n_freqs}) may be set too low.",
            stacklevel=2,
        )
    return values.to(dtype).to(device, copy=True)


def check_mel(
    n_freqs: int, f_min: float, f_max: float, n_mels: int, sample_rate: float, norm: str | None, mel_scale: str
) -> None:
    """Raises ValueError for what makes no mel filterbank."""
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


@lru_cache(maxsize=128)
def _mel_basis(
    n_freqs: int, f_min: float, f_max: float, n_mels: int, sample_rate: float, norm: str | None, mel_scale: str
) -> torch.Tensor:
    """melscale_fbanks in float64. Shared: never handed out."""
    with torch.inference_mode(False), torch.no_grad():
        options = dict(dtype=torch.float64, device="cpu")
        frequency = torch.linspace(0, sample_rate / 2, n_freqs, **options)
        mels = torch.linspace(hz_to_mel(f_min, mel_scale), hz_to_mel(f_max, mel_scale), n_mels + 2, **options)
        edges = _mel_to_hz(mels, mel_scale)
        left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rising = (frequency - left) / (middle - left)
        falling = (right - frequency) / (right - middle)
        basis = torch.minimum(rising, falling).clamp(min=0)
        return basis * (2.0 / (right - left)) if norm == "slaney" else basis


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
    """[n_mels, n_fft // 2 + 1] float32: Kaldi's triangles, straight in mel (1127 ln(1 + f / 700)) rather than in Hz,
    which leave the last bin out. high_freq <= 0 counts from half the sample rate down.

    Raises ValueError for frequencies that make no filterbank.
    """
    nyquist = sample_rate / 2
    high = high_freq if high_freq > 0 else high_freq + nyquist
    if not 0 <= low_freq < high <= nyquist:
        raise ValueError(f"low_freq={low_freq}, high_freq={high_freq}: expected 0 <= low < high <= {nyquist} Hz")

    def mel(frequency: float) -> float:
        return 1127.0 * math.log1p(frequency / 700.0)

    options = dict(dtype=torch.float64, device="cpu")
    edges = torch.linspace(mel(low_freq), mel(high), n_mels + 2, **options)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    position = 1127.0 * torch.log1p(torch.arange(n_fft // 2, **options) * (sample_rate / n_fft / 700.0))
    basis = torch.minimum((position - left) / (middle - left), (right - position) / (right - middle)).clamp(min=0)
    return torch.nn.functional.pad(basis, (0, n_fft // 2 + 1 - basis.shape[1])).float()


def cosine_transform(n_mfcc: int, n_mels: int, norm: str | None) -> torch.Tensor:
    """[n_mels, n_mfcc] float32: the DCT-II (times 2), or the orthonormal one for norm "ortho"; as torchaudio's
    create_dct. Raises ValueError for another norm."""
    if norm not in (None, "ortho"):
        raise ValueError('norm must be either "ortho" or None')
    position = torch.arange(n_mels, dtype=torch.float64, device="cpu")[:, None]
    order = torch.arange(n_mfcc, dtype=torch.float64, device="cpu")
    basis = torch.cos(math.pi / n_mels * (position + 0.5) * order)
    if norm is None:
        return (2.0 * basis).float()
    basis[:, 0] *= math.sqrt(0.5)
    return (basis * math.sqrt(2.0 / n_mels)).float()
