"""torch.istft as torch documents it, to compare with: imaginary parts of the first and the last bin do not count.

On CUDA they do, at some sizes (pytorch issue 154496), and networks with random weights make such spectra.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from mps_spectro_patch.execution import comparison
from mps_spectro_patch.patching.entry import istft_arguments


def istft(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(original)
    def documented(*arguments, **options):
        spectrum, n_fft, *rest = istft_arguments(*arguments, **options)
        if spectrum.is_cuda and spectrum.shape[-2] == n_fft // 2 + 1:
            spectrum = comparison.with_real_ends(spectrum, n_fft)
        return original(spectrum, n_fft, *rest)

    return documented
