"""The torch.library operators: schema, kernels and fake kernels.

The only file that will know about autograd and vmap; today calls that need gradients never arrive here. Arguments are
taken as valid: routing has made sure of that, for direct callers too.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from .kernels import library
from .kernels.geometry import IstftGeometry, StftGeometry
from .routing import Reason, UseOriginal

_stft_geometry = lru_cache(maxsize=1024)(StftGeometry)  # made once per signature: a call is mostly overhead
_istft_geometry = lru_cache(maxsize=1024)(IstftGeometry)

_namespace = torch.library.Library("mps_spectro_patch", "DEF")
_namespace.define(
    "stft(Tensor input, Tensor window, int n_fft, int hop_length, int win_length, bool center, str pad_mode, "
    "bool normalized) -> Tensor"
)
_namespace.define(
    "istft(Tensor input, Tensor window, int n_fft, int hop_length, int win_length, bool center, bool normalized, "
    "int length, *, bool strict=False) -> Tensor"
)


def run_stft(
    input: torch.Tensor,
    window: torch.Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    center: bool,
    pad_mode: str,
    normalized: bool,
) -> torch.Tensor:
    """The operator's body, which eager calls use directly."""
    rows, samples = input.shape
    pad = n_fft // 2 if center else 0
    geometry = _stft_geometry(rows, samples, n_fft, hop_length, win_length, pad, pad_mode, normalized)
    return library.stft(input, window, geometry)


def run_istft(
    input: torch.Tensor,
    window: torch.Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    center: bool,
    normalized: bool,
    length: int,
    strict: bool = False,
) -> torch.Tensor:
    """The operator's body, which eager calls use directly."""
    geometry = _istft_geometry(
        input.shape[0], input.shape[2], n_fft, hop_length, win_length, center, normalized, True, length
    )
    signal = library.istft(input, window, geometry)
    if signal is not None:
        return signal
    if strict:
        raise UseOriginal(Reason.NOLA)
    # Inside a compiled graph nobody can fall back for us; torch's own function raises torch's own error.
    return torch._VF.istft(
        input, n_fft, hop_length, win_length, window, center, normalized, True, length, False
    )


def _stft_fake(input, window, n_fft, hop_length, win_length, center, pad_mode, normalized):
    padded = input.shape[1] + (n_fft // 2 * 2 if center else 0)
    frames = 1 + (padded - n_fft) // hop_length
    bins = n_fft // 2 + 1
    shape = input.shape[0], bins, frames
    return input.new_empty_strided(shape, (frames * bins, 1, bins), dtype=torch.complex64)


def _istft_fake(input, window, n_fft, hop_length, win_length, center, normalized, length, strict=False):
    return input.new_empty((input.shape[0], length), dtype=torch.float32)


# One registration for every backend: the kernels pick the compiler by the tensor's device.
_namespace.impl("stft", run_stft, "CompositeExplicitAutograd")
_namespace.impl("istft", run_istft, "CompositeExplicitAutograd")
torch.library.register_fake("mps_spectro_patch::stft", _stft_fake, lib=_namespace)
torch.library.register_fake("mps_spectro_patch::istft", _istft_fake, lib=_namespace)

stft = torch.ops.mps_spectro_patch.stft.default
istft = torch.ops.mps_spectro_patch.istft.default
