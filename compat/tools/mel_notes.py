"""What is known of a value in somebody's mel function: of which signal it is, and what has been done with it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ...front_ends import Scale
from ...tensors import PLAIN


class Signal:
    """What a call of the function is given. name: under which its launch is counted."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        self.name, self.tensor, self.device = name, tensor, tensor.device
        self._limits: tuple[float, float] | None = None

    def limits(self) -> tuple[float, float]:
        """Its least and its largest sample, for which the device is waited for once."""
        if self._limits is None:
            with torch._C.DisableTorchFunction():
                self._limits = tuple(_extremes(self.tensor.detach()).tolist())
        return self._limits


class Note:
    """What a stand-in stands for.

    what: "signal"; "channel", "padded channel" and "padded": on its way through F.pad; "least" or "largest" sample;
    "spectrum"; its "pairs", "real" and "imaginary" parts, and the "... squared" of these; "power", their sum;
    "magnitude"; "bands" of the filterbank; "clamped"; "log"; "top", its largest value; "floor", something below that;
    "limited" by the floor.
    """

    pad: int = 0  # samples reflected at either end
    sizes: tuple[int, int, int] = (0, 0, 0)  # n_fft, hop_length, win_length
    window: Tensor | None = None
    center: bool = False
    dropped: int = 0  # frames at the end
    power: float = 1.0
    eps: float = 0.0
    root: bool = False  # the magnitude is a root, with an infinite gradient at 0
    basis: Tensor | None = None
    scale: Scale = Scale()
    by_rows: bool = False  # in torch's tensor, the frames of a bin are side by side

    def __init__(self, fields: dict[str, Any]) -> None:
        """fields: what, signal, and those that are not as above."""
        self.__dict__ = fields

    def but(self, **changes: Any) -> Note:
        return Note(self.__dict__ | changes)

    def is_beside(self, other: Note) -> bool:
        """Whether only what they stand for, and at which scale, is different."""
        return all(
            getattr(self, name) is getattr(other, name)
            for name in self.__dict__.keys() | other.__dict__.keys()
            if name not in ("what", "scale")
        )


def _extremes(signal: Tensor) -> Tensor:
    """[2] on the CPU: the least and the largest of its numbers. The device looks at rows of them: all at once would be
    two launches."""
    row = _row(signal.numel()) if signal.is_contiguous() else 0
    both = torch.empty((2, signal.numel() // row) if row else 2, dtype=torch.float32, device=signal.device)
    if row:
        torch.aminmax(signal.view(-1, row), dim=1, out=(both[0], both[1]))
    else:
        torch.aminmax(signal, out=(both[0], both[1]))
    return torch.stack(torch.aminmax(both.cpu()))


@lru_cache(maxsize=256)
def _row(count: int) -> int:
    """The length of rows that so many numbers are whole rows of, or 0 where all of them are looked at at once."""
    return next((row for row in range(1024, 255, -1) if count % row == 0 and count <= row * _ROWS_MAX), 0)


_ROWS_MAX = 4096


def is_plain(*tensors: Any) -> bool:
    """Whether all are float32 as a kernel reads it, on one device."""
    for one in tensors:
        if type(one) not in PLAIN or one.dtype is not torch.float32 or one.layout is not torch.strided:
            return False
        if one.is_neg() or one.device != tensors[0].device:
            return False
    return True
