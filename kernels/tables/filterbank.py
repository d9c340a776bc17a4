"""Filterbanks as the kernels read them: of every band only the bins from its first to its last."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn.functional import pad

from .by_tensor import HostCopies

SPANS_MAX = 8  # times the bins: all bands together may span that much, else a dense product is no worse
REACH_MAX = 16  # bands that one bin may lie under


class Bands:
    """A filterbank [bands, bins] whose bands are narrow, on the host, in the basis' own float32 values."""

    def __init__(self, basis: torch.Tensor) -> None:
        self.basis = basis
        self.count, self.bins = basis.shape
        position = torch.arange(self.bins, device="cpu")
        used = basis != 0
        empty = ~used.any(1)
        self.first = torch.where(used, position, self.bins).amin(1).masked_fill(empty, 0)
        self.end = torch.where(used, position + 1, 0).amax(1)
        # The bands over a bin: from the first to the last, those between that leave it out included.
        band = torch.arange(self.count, device="cpu").unsqueeze(1)
        unused = ~used.any(0)
        self.first_over = torch.where(used, band, self.count).amin(0).masked_fill(unused, 0)
        self.reach = max(1, int((torch.where(used, band + 1, 0).amax(0) - self.first_over).max()))

    @property
    def used(self) -> int:
        """The bins up to the last that is in a band."""
        return max(1, int(self.end.max()))

    @property
    def span(self) -> int:
        """Bins of all bands together."""
        return int((self.end - self.first).sum())

    @property
    def narrow(self) -> bool:
        return self.span <= SPANS_MAX * self.bins

    @property
    def narrow_over(self) -> bool:
        """Whether no bin lies under many bands, which the backward pass asks for."""
        return self.reach <= REACH_MAX

    @lru_cache(maxsize=16)  # noqa: B019 (a Bands lives in the module's cache)
    def forward_tables(self, lanes: int, device: torch.device) -> tuple[int, torch.Tensor, torch.Tensor]:
        """(rounds, layout, weights), see features.metal: in round r, lane l adds up band r * lanes + l."""
        pairs = (self.used + 1) // 2
        rounds = -(-self.count // lanes)
        padded = pad(self.basis, (0, 2 * pairs - self.bins, 0, rounds * lanes - self.count))
        begin = pad(self.first // 2, (0, rounds * lanes - self.count))
        end = pad((self.end + 1) // 2, (0, rounds * lanes - self.count))
        rows = (end - begin).view(rounds, lanes).amax(1)
        begin = torch.minimum(begin.view(rounds, lanes), (pairs - rows).unsqueeze(1))  # none reads beyond those used
        offsets = rows.cumsum(0) - rows
        blocks = []
        by_pair = padded.view(rounds, lanes, pairs, 2)
        for turn in range(rounds):
            index = begin[turn].unsqueeze(1) + torch.arange(int(rows[turn]), device="cpu")  # [lanes, rows]
            block = by_pair[turn].gather(1, index.unsqueeze(2).expand(-1, -1, 2))
            blocks.append(block.transpose(0, 1).reshape(-1, 2))  # one row: a pair for every lane
        layout = torch.cat([torch.stack([offsets, rows], 1).flatten(), begin.flatten()]).to(torch.int32)
        weights = torch.cat(
            [*blocks, torch.zeros(1, 2, dtype=torch.float32, device="cpu")]
        )  # never empty: an argument needs an address
        return rounds, layout.to(device), weights.contiguous().to(device)

    @lru_cache(maxsize=16)  # noqa: B019
    def backward_tables(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """(first, shares): per bin the first of the `reach` bands over it, and reach rows of its weights in them."""
        first = torch.minimum(self.first_over, torch.tensor(self.count - self.reach, device="cpu"))
        index = first + torch.arange(self.reach, device="cpu").unsqueeze(1)
        shares = self.basis.gather(0, index)
        return first.to(torch.int32).to(device), shares.contiguous().to(device)


class Basis:
    """A basis on the host and its bands."""

    def __init__(self, basis: torch.Tensor) -> None:
        self.values = basis.to(torch.float32, copy=True)  # a basis on the CPU may be written to

    @lru_cache(maxsize=256)  # noqa: B019
    def bands(self, bins: int) -> Bands | None:
        if not self.values.isfinite().all():
            return None
        bands = Bands(pad(self.values, (0, bins - self.values.shape[1])).contiguous())
        return bands if bands.narrow else None


def bands_of(basis: torch.Tensor, bins: int) -> Bands | None:
    """The bands of a basis [bands, freqs] cut to its first `bins` columns, or None where they are not narrow.

    Columns beyond `bins` meet no bin and count for nothing; missing ones (bins > freqs) leave their bins unused.
    """
    return bases(basis).bands(bins)


def read_backs() -> int:
    """How often a basis was copied to the host so far: at most once per basis and version."""
    return bases.read_backs


bases = HostCopies(Basis)  # the same object for the same values
