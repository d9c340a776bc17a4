"""The device under test: how to wait for it, how much of its memory a call takes, and what it is called."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..execution import tuning
from ..options import ACCELERATORS
from ..version import __version__

# Bytes that the inputs and outputs of a case cover together, in turns: several times the largest cache.
FOOTPRINT = {"cuda": 400_000_000, "mps": 256_000_000, "simulator": 0}
COPY = {"cuda": 1_073_741_824, "mps": 268_435_456, "simulator": 8_388_608}  # bytes of the buffer that is copied


@dataclass(frozen=True)
class Accelerator:
    """One of the names that enable(devices=...) takes."""

    device: str

    @property
    def place(self) -> str:
        return ACCELERATORS[self.device]

    def wait(self) -> None:
        if self.device != "simulator":
            getattr(torch, self.device).synchronize()

    def clock(self) -> float:
        """Seconds, once everything that was asked for is done."""
        self.wait()
        return time.perf_counter()

    def forget(self) -> None:
        """Gives back memory that only caches hold."""
        if self.device != "simulator":
            getattr(torch, self.device).empty_cache()

    def peak(self, call: Callable[[], Any]) -> int | None:
        """Bytes that a call allocates at its peak, its result included; None where torch does not tell.

        On Apple GPUs torch keeps no peak: there it is what the allocator took from the system, having kept nothing.
        """
        call()
        self.wait()
        if self.device == "cuda":
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            call()
            return torch.cuda.max_memory_allocated() - before
        if self.device == "mps":
            self.forget()
            before = torch.mps.driver_allocated_memory()
            call()
            self.wait()
            return max(0, torch.mps.driver_allocated_memory() - before)
        return None

    def name(self) -> str:
        if self.device == "simulator":
            return f"simulator on {platform.machine()}"
        return tuning.device_name(torch.device(self.device))


def machine(accelerator: Accelerator) -> dict[str, str]:
    """Where a run was made."""
    return {
        "device": accelerator.device, "name": accelerator.name(), "torch": torch.__version__, "package": __version__,
        "python": platform.python_version(), "system": platform.platform(), "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
