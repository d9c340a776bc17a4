"""Copies of a call's arguments between pages that nobody may touch, so that an access outside of one is caught.

For tests of kernels on the simulator. What lies between the elements of a strided tensor is NaN in its copy; what the
kernel wrote is copied back.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_MARGIN = 1 << 26  # bytes that may not be touched on either side: wrong indices are rarely off by less than one page


class Block:
    """`size` bytes whose end (or start) is that of the memory that may be touched; so its alignment is what it is."""

    def __init__(self, size: int, at: str) -> None:
        inside = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANON | getattr(mmap, "MAP_NORESERVE", 0)
        self._map = mmap.mmap(-1, inside + 2 * _MARGIN, flags)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        first = self._start + _MARGIN
        _forbid(self._start)
        _forbid(first + inside)
        self.size = size
        self.address = first if at == "start" else first + inside - size
        ctypes.memset(first, 0xFF, inside)

    def close(self) -> None:
        self._map.close()

    def holds(self, address: int) -> bool:
        return self._start <= address < self._start + len(self._map)


@contextmanager
def tensors(args: list[Any], at: str) -> Iterator[tuple[list[Any], dict[int, Block]]]:
    """The arguments with guarded copies for tensors, and the block of each. at: the guarded side, "start" or "end"."""
    blocks: dict[int, Block] = {}
    copies = list(args)
    try:
        for index, tensor in enumerate(args):
            if isinstance(tensor, torch.Tensor) and tensor.dim() > 0 and tensor.numel() > 0:
                reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)) + 1
                block = Block(reach * tensor.element_size(), at)
                blocks[index] = block
                memory = (ctypes.c_char * block.size).from_address(block.address)
                flat = torch.frombuffer(memory, dtype=tensor.dtype)
                copies[index] = flat.as_strided(tensor.shape, tensor.stride())
                copies[index].copy_(tensor.detach())
        before = {index: copies[index].clone() for index in blocks}
        yield copies, blocks
        for index in before:  # the launch adds blocks for its lists, which nobody reads back
            if not _same_bits(before[index], copies[index]):
                args[index].detach().copy_(copies[index])
    finally:
        copies.clear()
        for block in blocks.values():
            block.close()


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


_libc = ctypes.CDLL(None, use_errno=True)


def _forbid(address: int) -> None:
    """A margin that starts there: reading and writing it are faults."""
    nothing = 0
    if _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(_MARGIN), nothing):
        raise OSError(ctypes.get_errno(), "mprotect")
