"""Fake tensors that count what moves from device to device.

They have a device and no values, so `mps:0` needs no Apple GPU. (A dispatch mode beside FakeTensorMode would do for
programs alone, but the patch makes way for modes that it does not know.)
"""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode


class CountingFakes(FakeTensorMode):
    """transfers: (from, to, shape) of every operator's result that is on another device than its first tensor."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.transfers: list[tuple[str, str, tuple[int, ...]]] = []
        self._depth = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self._depth += 1
        try:
            result = super().__torch_dispatch__(function, types, args, kwargs)
        finally:
            self._depth -= 1
        if self._depth:  # a step of an operator that is counted itself
            return result
        given = next((one for one in args if isinstance(one, torch.Tensor)), None)
        if given is not None and isinstance(result, torch.Tensor) and result.device != given.device:
            self.transfers.append((given.device.type, result.device.type, tuple(result.shape)))
        return result

    def of_audio(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Those of more than a window or a few numbers."""
        return [one for one in self.transfers if len(one[2]) > 1]


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
