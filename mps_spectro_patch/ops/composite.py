"""The operators made of torch's own functions, where there is no kernel, or no second derivative.

Only functions that are never patched are used here.
"""

from __future__ import annotations

import torch


def stft(input, window, n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided) -> torch.Tensor:
    """[rows, samples] to [rows, bins, frames], as operators.run_stft."""
    if pad:
        input = torch.nn.functional.pad(input.unsqueeze(0), (pad, pad), pad_mode).squeeze(0)
    return torch._VF.stft(input, n_fft, hop_length, win_length, window, normalized, onesided, True)


def istft(input, window, n_fft, hop_length, win_length, center, normalized, onesided, length, return_complex):
    """[rows, bins, frames] to [rows, length], as operators.run_istft, or torch's error where that is impossible."""
    return torch._VF.istft(
        input, n_fft, hop_length, win_length, window, center, normalized, onesided, length, return_complex
    )
