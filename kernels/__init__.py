"""Metal sources, FFT plans and the three compilers that run one on Apple GPUs, on NVIDIA GPUs and on the CPU.
Importing this compiles nothing and loads no compiler."""

from __future__ import annotations

from typing import Any


def compile_shader(source: str, device: str) -> Any:
    """Compiles Metal source for "mps", "cuda" or "simulator" (the CPU). The kernels of the library that it returns are
    called as torch.mps.compile_shader's are: `library.name(*args, threads=None, group_size=None, arg_casts=None)`."""
    if device == "mps":
        from . import mps as compiler
    elif device == "cuda":
        from . import cuda as compiler
    elif device == "simulator":
        from . import host as compiler
    else:
        raise ValueError(f'device must be "mps", "cuda" or "simulator", not {device!r}')
    return compiler.compile_shader(source)
