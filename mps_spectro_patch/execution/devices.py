"""Which of the accelerators are here and can compile a kernel: for commands that take --device."""

from __future__ import annotations

import torch

from ..errors import CommandError
from ..kernels import compile_shader

_PROBE = "kernel void probe(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = 1; }"


def best_device() -> str:
    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if torch.cuda.is_available() else "simulator"


def require_device(device: str) -> None:
    """Raises CommandError where torch does not find the device."""
    if device == "mps" and not torch.backends.mps.is_available():
        raise CommandError("this torch finds no Apple GPU (mps) here; --device simulator runs the kernels on the CPU")
    if device == "cuda" and not torch.cuda.is_available():
        raise CommandError("this torch finds no NVIDIA GPU (cuda) here; --device simulator runs the kernels on the CPU")


def check_device(device: str) -> None:
    """Raises CommandError where torch does not find the device, or no kernel can be compiled for it."""
    require_device(device)
    try:
        compile_shader(_PROBE, device)
    except (RuntimeError, ImportError) as error:  # no C++ compiler, or the extra [cuda] is not installed: it says which
        raise CommandError(f"kernels cannot be compiled for {device}: {error}") from None
