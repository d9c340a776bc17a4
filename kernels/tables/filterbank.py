"""Filterbanks as the kernels read them: of every band only the bins from its first to its last."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn.functional import pad

from .band_order import spread
from .by_tensor import HostCopies

SPANS_MAX = 8  # times the bins: all bands together may span that much, else a dense product is no worse
REACH_MAX = 16  # bands that one bin may lie under
ROWS_AT_ONCE = 4  # of weights, as the kernels add them up


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
        """(rounds, layout, weights), see features.metal: in round r, the lanes add up bands r * lanes and behind, each
        the one that band_order.spread() says. Behind the last round there is one that is read and not added up."""
        pairs, rounds = (self.used + 1) // 2, -(-self.count // lanes)
        padded = pad(self.basis, (0, 2 * (pairs + ROWS_AT_ONCE) - self.bins, 0, rounds * lanes - self.count))
        begin = pad(self.first // 2, (0, rounds * lanes - self.count)).view(rounds, lanes)
        end = pad((self.end + 1) // 2, (0, rounds * lanes - self.count)).view(rounds, lanes)
        rows = -(-(end - begin).amax(1, keepdim=True) // ROWS_AT_ONCE) * ROWS_AT_ONCE
        # A band is read from a place where all of it is, and nothing behind the last pair, if it is that long.
        least, most = (end - rows).clamp(min=0), torch.minimum(begin, (pairs - rows).clamp(min=0))
        placed = [spread(list(map(range, *bounds))) for bounds in zip(least.tolist(), (most + 1).tolist(), strict=True)]
        order, begin = torch.tensor(placed, device="cpu").view(rounds, lanes, 2).unbind(2)
        order = order + lanes * torch.arange(rounds, device="cpu").unsqueeze(1)
        turn = torch.arange(rounds, device="cpu").repeat_interleave(rows[:, 0])  # of each row of weights
        before = rows.cumsum(0) - rows
        row = torch.arange(len(turn), device="cpu") - before[turn, 0]
        rows_of_pairs = padded.view(rounds * lanes, -1, 2)[order[turn], begin[turn] + row.unsqueeze(1)]
        # Never empty: an argument needs an address.
        weights = torch.cat([rows_of_pairs.view(-1, 2), torch.zeros(1, 2, dtype=torch.float32, device="cpu")])
        weight = lanes * before + torch.arange(lanes, device="cpu")
        layout = pad(torch.stack([weight, rows.expand_as(weight), begin, order], 2), (0, 0, 0, 0, 0, 1)).to(torch.int32)
        return rounds, layout.to(device), weights.to(device)

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
