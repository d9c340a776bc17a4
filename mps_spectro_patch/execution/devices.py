"""Which of the accelerators are here and work: for commands that take --device."""

from __future__ import annotations

import torch

from ..errors import CommandError, MissingCompiler
from ..kernels import compile_shader
from ..options import ACCELERATORS

_PROBE = "kernel void probe(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = 1; }"


def best_device() -> str:
    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if torch.cuda.is_available() else "simulator"


def require_device(device: str) -> None:
    """Raises CommandError where torch does not find the device, or a compiler for it has to be installed first."""
    if device == "mps" and not torch.backends.mps.is_available():
        raise CommandError("this torch finds no Apple GPU (mps) here; --device simulator runs the kernels on the CPU")
    if device == "cuda" and not torch.cuda.is_available():
        raise CommandError("this torch finds no NVIDIA GPU (cuda) here; --device simulator runs the kernels on the CPU")
    error = device_error(device)
    if isinstance(error, (MissingCompiler, ImportError)):
        raise CommandError(_words(device, error))


def check_device(device: str) -> None:
    """Raises CommandError where no kernel runs on the device, whatever the reason."""
    require_device(device)
    error = device_error(device)
    if error is not None:
        raise CommandError(_words(device, error))


def device_error(device: str) -> Exception | None:
    """What goes wrong with the smallest kernel and one sum of torch's own. (A virtual GPU may be found and then be
    unable to hold 256 bytes.)"""
    try:
        library = compile_shader(_PROBE, device)
        ones = torch.zeros(64, dtype=torch.float32, device=ACCELERATORS[device])
        library.probe(ones)
        if float(ones.sum()) != 64:
            raise RuntimeError(f"64 ones are {float(ones.sum())} together")
    except (RuntimeError, SyntaxError, ImportError) as error:
        return error
    return None


def _words(device: str, error: Exception) -> str:
    return f"kernels cannot run on {device}: {error}"
