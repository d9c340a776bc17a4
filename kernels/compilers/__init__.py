"""The three compilers of Metal text: torch.mps, NVRTC and a C++ compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ...errors import MissingCompiler

_KERNELS = Path(__file__).parents[1]


def check_files() -> None:
    """Raises MissingCompiler where there is no text to compile, as in a zip archive."""
    for name in ("metal", "compilers/cxx"):
        if not (_KERNELS / name).is_dir():
            raise MissingCompiler(
                f"this package is not installed as files: there is no folder {_KERNELS / name}. It cannot run from a "
                f"zip archive. A frozen program must bring its data files, as PyInstaller does by itself"
            )


def compile_shader(source: str, device: Literal["mps", "cuda", "simulator"]) -> Any:
    """Compiles Metal source for one device, as torch.mps.compile_shader does for Apple GPUs.

    Args:
        source: text in the Metal Shading Language.
        device: "mps" (Apple GPUs), "cuda" (NVIDIA GPUs, by NVRTC) or "simulator" (the CPU, by a C++ compiler).

    Returns:
        A library with one attribute for each kernel in the source. Kernels are called as those of
        torch.mps.compile_shader: `library.name(*args, threads=None, group_size=None, arg_casts=None)`.

    Raises:
        ValueError: an unknown device.
        RuntimeError: the device is missing, or (MissingCompiler, which says what to install) its compiler.
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
    check_files()
    if device == "mps":
        from . import mps as compiler
    elif device == "cuda":
        from . import cuda as compiler
    elif device == "simulator":
        from . import simulator as compiler
    else:
        raise ValueError(f'device must be "mps", "cuda" or "simulator", not {device!r}')
    return compiler.compile_shader(source)
