"""Metal sources, FFT plans and the three compilers that run one on Apple GPUs, on NVIDIA GPUs and on the CPU.
Importing this compiles nothing and loads no compiler."""

from __future__ import annotations

from typing import Any

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "compilers.cache_folder": ("cache_directory", "read_json", "wanted_directory", "write_file"),
        "launch": ("any_size", "dispatch", "feature_passes", "features", "smooth_size", "transforms"),
        "launch.dispatch": ("Ready", "starts_at_pair"),
        "plans": ("fft",),
        "plans.fft": ("Plan",),
        "plans.frozen": ("hashed_once",),
        "plans.geometry": ("IstftGeometry", "StftGeometry"),
        "tables": ("filterbank",),
        "tables.filterbank": ("Bands",),
    },
)
__all__ = [*__all__, "compile_shader"]


def compile_shader(source: str, device: str) -> Any:
    """Compiles Metal source for one device, as torch.mps.compile_shader does for Apple GPUs.

    Args:
        source: text in the Metal Shading Language.
        device: "mps" (Apple GPUs), "cuda" (NVIDIA GPUs, by NVRTC) or "simulator" (the CPU, by a C++ compiler).

    Returns:
        A library with one attribute for each kernel in the source. Kernels are called as those of
        torch.mps.compile_shader: `library.name(*args, threads=None, group_size=None, arg_casts=None)`.

    Raises:
        ValueError: an unknown device.
        RuntimeError: the device or its compiler is missing.
        SyntaxError: the source does not compile.

    Example:
        >>> library = msp.kernels.compile_shader('''
        ...     kernel void twice(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
        ...         x[i] *= 2;
        ...     }
        ... ''', "simulator")
        >>> x = torch.ones(4)
        >>> library.twice(x)
        >>> x
        tensor([2., 2., 2., 2.])
    """
    if device == "mps":
        from .compilers import mps as compiler
    elif device == "cuda":
        from .compilers import cuda as compiler
    elif device == "simulator":
        from .compilers import simulator as compiler
    else:
        raise ValueError(f'device must be "mps", "cuda" or "simulator", not {device!r}')
    return compiler.compile_shader(source)
