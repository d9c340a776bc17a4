"""What becomes of the memory that the launches in kernels/launch ask torch for, and of what programs print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch

# A shell's redirection to a device without space.
FULL = pytest.param(
    ">/dev/full", marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has /dev/full")
)


@contextmanager
def poisoned_outputs() -> Iterator[None]:
    """Outputs are full of NaN before a kernel runs, so that an element which it does not write shows.

    torch fills what torch.empty() gives where algorithms must be deterministic.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


class TorchWithoutMemory:
    """Stands for the name `torch` in one module, so that only what that module allocates fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    def empty(self, *_: object, **__: object) -> torch.Tensor:
        raise self.error

    empty_strided = empty


def without_memory(monkeypatch, *modules: ModuleType, error: Exception) -> None:
    for module in modules:
        monkeypatch.setattr(module, "torch", TorchWithoutMemory(error))
