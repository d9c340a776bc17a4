"""Metal sources, FFT plans and the three compilers that run one on Apple GPUs, on NVIDIA GPUs and on the CPU.
Importing this compiles nothing and loads no compiler."""

from __future__ import annotations

from typing import Any

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "compilers.cache_folder": ("cache_directory", "read_json", "wanted_directory", "write_file"),
        "launch": ("any_size", "feature_passes", "features", "smooth_size", "transforms"),
        "launch.dispatch": ("Ready", "kernel_text", "starts_at_pair", "text_digest"),
        "plans": ("fft",),
        "plans.frozen": ("hashed_once",),
        "plans.geometry": ("IstftGeometry", "StftGeometry"),
        "plans.plan": ("Plan",),
        "tables.filterbank": ("Bands", "bands_of"),
    },
)


def compile_shader(source: str, device: str) -> Any:
    """Compiles Metal source for "mps", "cuda" or "simulator" (the CPU). The kernels of the library that it returns are
    called as torch.mps.compile_shader's are: `library.name(*args, threads=None, group_size=None, arg_casts=None)`."""
    if device == "mps":
        from .compilers import mps as compiler
    elif device == "cuda":
        from .compilers import cuda as compiler
    elif device == "simulator":
        from .compilers import simulator as compiler
    else:
        raise ValueError(f'device must be "mps", "cuda" or "simulator", not {device!r}')
    return compiler.compile_shader(source)
