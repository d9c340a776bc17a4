"""Counts what goes from one device to another, on fake MPS tensors, which need no Apple GPU."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves


class Transfer(NamedTuple):
    way: str
    shape: tuple[int, ...]

    @property
    def is_window(self) -> bool:
        return len(self.shape) == 1


class CountingFakeMode(FakeTensorMode):
    """The mode of fake tensors, which keeps a list of the transfers of more than one number in `seen`.

    (Under any other dispatch mode our patch goes to torch's functions, so that the mode sees what it is used to see.)
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.seen: list[Transfer] = []
        self.depth = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.depth += 1  # what the mode calls in its turn to find a result is no transfer
        try:
            result = super().__torch_dispatch__(function, types, args, kwargs)
        finally:
            self.depth -= 1
        if self.depth:
            return result
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor) and one.numel() > 1]
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor):
                others = [other for other in given if other.device.type != one.device.type]
                self.seen += [Transfer(f"{o.device.type} to {one.device.type}", tuple(o.shape)) for o in others]
        return result

    def of_audio(self) -> list[Transfer]:
        """Of what was seen since the last time, all but windows."""
        return [transfer for transfer in self.seen if not transfer.is_window]

    def take(self) -> Counter:
        """What was seen since the last time."""
        taken, self.seen = Counter(self.seen), []
        return taken


def windows(transfers: Counter) -> int:
    return sum(count for transfer, count in transfers.items() if transfer.is_window)


def others(transfers: Counter) -> dict[Transfer, int]:
    """Audio, spectra, masks, padding."""
    return {transfer: count for transfer, count in transfers.items() if not transfer.is_window}


def moved_in_name(module: torch.nn.Module, device: str = "mps:0") -> torch.nn.Module:
    """The module with buffers and parameters of its shapes there. (Not .to(): what makes a module often reads values,
    so modules are made outside of the mode.)"""
    for part in module.modules():
        for table in (part._buffers, part._parameters):
            for name, value in table.items():
                if value is not None:
                    fake = torch.zeros(value.shape, dtype=value.dtype, device=device)
                    table[name] = torch.nn.Parameter(fake, False) if table is part._parameters else fake
    return module
