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
