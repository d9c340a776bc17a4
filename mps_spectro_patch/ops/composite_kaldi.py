"""Kaldi's filterbank energies made of torch's own functions, in any precision and in what TorchScript knows: for calls
without a kernel, for gradients, and as the reference of verification.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kaldi(
    input: Tensor,
    window: Tensor,
    basis: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    snip_edges: bool,
    remove_dc: bool,
    preemphasis: float,
    power: float,
    log: bool,
    amin: float,
    energy: str,
    energy_floor: float,
    energy_last: bool,
    subtract_mean: bool,
) -> Tensor:
    """[rows, samples] to [rows, frames, bands (and one)], as ops.kaldi. basis: [bands, n_fft // 2 + 1]."""
    samples = input.size(1)
    if snip_edges:
        frames = 1 + (samples - win_length) // hop_length
    else:
        frames = (samples + hop_length // 2) // hop_length
        pad = win_length // 2 - hop_length // 2
        mirrored = input.flip(1)
        if pad > 0:
            input = torch.cat([mirrored[:, samples - pad :], input, mirrored], 1)
        else:
            input = torch.cat([input[:, -pad:], mirrored], 1)
    framed = input.unfold(1, win_length, hop_length)[:, :frames]
    if remove_dc:
        framed = framed - framed.mean(2, keepdim=True)
    raw = framed
    if preemphasis != 0:
        framed = framed - preemphasis * torch.cat([framed[:, :, :1], framed[:, :, :-1]], 2)
    framed = framed * window
    values = torch.fft.rfft(framed, n_fft).abs()
    if power != 1:
        values = values.pow(power)
    values = torch.matmul(values, basis.t())
    if log:
        values = values.clamp(min=amin).log()
    if energy != "":
        of_frame = raw if energy == "raw" else framed
        level = of_frame.pow(2).sum(2, keepdim=True).clamp(min=amin).log().clamp(min=energy_floor)
        values = torch.cat([values, level] if energy_last else [level, values], 2)
    if subtract_mean:
        values = values - values.mean(1, keepdim=True)
    return values
