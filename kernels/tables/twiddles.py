"""Twiddle tables: made in float64, stored as float32 pairs, kept once per plan and device."""

from __future__ import annotations

from functools import lru_cache

import torch

from ..plans.convolution import Transform
from ..plans.plan import Plan


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
def chirp_tables(how: Transform, inverse: bool, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(the chirp, its conjugate's spectrum), with which a transform becomes a convolution, float32.

    [points, 2]: c(m) = e^{-2 pi i m^2 / n}, n = how.chirp_period. [plan.half, 2]: of its conjugate, periodic in
    plan.half points and divided by their number, as much of it on both sides of 0 as lies between any of the given
    values and the wanted ones. Folded frames want theirs divided by the root of 2.
    """
    size, given, wanted = how.plan.half, how.points, how.bins
    if inverse:
        given, wanted = wanted, given
    behind = given + wanted - 1 if how.folded else given  # wanted on both sides of 0
    values = _chirp(how.chirp_period, max(how.points, behind))
    conjugate = values.conj_physical()  # compiled code of torch ignores the bit of conj() in places
    around = torch.zeros(size, dtype=torch.complex128, device="cpu")
    around[:wanted] = conjugate[:wanted]
    around[size - behind + 1 :] = conjugate[1:behind].flip(0)
    divisor = size * 2**0.5 if how.folded else size
    return _store(values[: how.points], device), _store(torch.fft.fft(around) / divisor, device)


def _chirp(period: int, count: int) -> torch.Tensor:
    position = torch.arange(count, dtype=torch.int64, device="cpu")
    return _unit(-(position * position % period).double() / period)  # whole turns leave no rounding


def _unit(turns: torch.Tensor) -> torch.Tensor:
    """e^{2 pi i turns}, float64; whole and quarter turns come out exact."""
    quarter = torch.round(turns * 4)
    rest = (turns * 4 - quarter) * (torch.pi / 2)
    value = torch.polar(torch.ones_like(rest), rest)
    return value * torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128, device="cpu")[quarter.long() % 4]


def _store(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    return torch.view_as_real(values).to(torch.float32).contiguous().to(device)
