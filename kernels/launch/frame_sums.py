"""The sum of all frames of a signal, for gradients of windows: by torch's functions, without overlapping views, whose
sums are wrong on some devices, and by additions alone, so that nothing cancels."""

from __future__ import annotations

import torch
from torch.nn.functional import pad


def sum_of_frames(samples: torch.Tensor, frames: int, n_fft: int, hop_length: int) -> torch.Tensor:
    """[n_fft]: samples [n_fft + hop_length * (frames - 1)], cut into frames, which are added up."""
    if samples.is_complex():
        pairs = torch.view_as_real(samples).flatten()
        return torch.view_as_complex(sum_of_frames(pairs, frames, 2 * n_fft, 2 * hop_length).view(n_fft, 2))
    reach = -(-n_fft // hop_length)
    hops = frames + reach - 1
    rows = pad(samples, (0, hops * hop_length - samples.shape[0])).view(hops, hop_length)
    # Row n of the result is the sum of rows n to n + frames - 1.
    if frames < reach:
        total = rows[:reach].clone()
        for first in range(1, frames):
            total += rows[first : first + reach]
    else:  # what all of them have in common, and what is before and behind it
        before, behind = rows[: reach - 1], rows[frames:]
        total = rows[reach - 1 : frames].sum(0).expand(reach, hop_length).clone()
        total[:-1] += before.flip(0).cumsum(0).flip(0)
        total[1:] += behind.cumsum(0)
    return total.flatten()[:n_fft]
