"""Twiddle tables: made in float64, stored as float32 pairs, kept once per plan and device."""

from __future__ import annotations

from functools import lru_cache

import torch

from .plan import Plan


@lru_cache(maxsize=256)
def stage_twiddles(plan: Plan, device: torch.device) -> torch.Tensor:
    """[entries, 2] float32: behind the first stage, rows w^1, w^2, w^4, w^8 (those below the radix R) of every stage.

    w = e^{-2 pi i c / (P R)} for column c < P, P the product of the radices before the stage.
    """
    rows = [torch.zeros(1, dtype=torch.complex128, device="cpu")]  # never empty: a kernel argument needs an address
    before = plan.radices[0]
    if len(plan.radices) > 1:
        rows = []
    for radix in plan.radices[1:]:
        column = torch.arange(before, dtype=torch.float64, device="cpu")
        power = 1
        while power < radix:
            rows.append(_unit(-power * column / (before * radix)))
            power *= 2
        before *= radix
    return _store(torch.cat(rows), device)


@lru_cache(maxsize=256)
def pair_twiddles(n_fft: int, bins: int, device: torch.device) -> torch.Tensor:
    """[bins, 2] float32: e^{-2 pi i k / n_fft}, which joins the transforms of even and odd samples."""
    return _store(_unit(-torch.arange(bins, dtype=torch.float64, device="cpu") / n_fft), device)


@lru_cache(maxsize=256)
def chirp(points: int, device: torch.device) -> torch.Tensor:
    """[points, 2] float32: e^{-pi i m^2 / points}, with which a transform of `points` becomes a convolution."""
    return _store(_chirp(points), device)


@lru_cache(maxsize=256)
def chirp_spectrum(points: int, size: int, given: int, wanted: int, device: torch.device) -> torch.Tensor:
    """[size, 2] float32: the transform of the conjugate chirp, periodic in `size`, divided by `size`: as much of it, on
    both sides of 0, as takes `given` values of a transform of `points` to the `wanted` ones of its result."""
    values = _chirp(points).conj_physical()  # the bit of conj() is not heeded everywhere in compiled code
    around = torch.zeros(size, dtype=torch.complex128, device="cpu")
    around[:wanted] = values[:wanted]
    around[size - given + 1 :] = values[1:given].flip(0)
    return _store(torch.fft.fft(around) / size, device)


def _chirp(points: int) -> torch.Tensor:
    position = torch.arange(points, dtype=torch.int64, device="cpu")
    return _unit(-(position * position % (2 * points)).double() / (2 * points))  # whole turns leave no rounding


def _unit(turns: torch.Tensor) -> torch.Tensor:
    """e^{2 pi i turns}, float64; whole and quarter turns come out exact."""
    quarter = torch.round(turns * 4)
    rest = (turns * 4 - quarter) * (torch.pi / 2)
    value = torch.polar(torch.ones_like(rest), rest)
    return value * torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128, device="cpu")[quarter.long() % 4]


def _store(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    return torch.view_as_real(values).to(torch.float32).contiguous().to(device)
