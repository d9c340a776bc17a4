"""Generates, for each translated kernel, the C++ function that gathers its arguments and calls it.
Holds the text after the kernels in a translation unit; how it is compiled and launched is
kernels/compilers/simulator.py's and kernels/compilers/cuda.py's."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from .translate import BUILTINS, Kernel, Parameter

CXX = Path(__file__).parents[1] / "cxx"

# NVRTC declares these at global scope before any source line. Renamed before ours are declared, so that `float2`,
# `metal::min` or a user's own erf() never meet CUDA's. The f-suffixed functions, which ours are made of, stay.
_CUDA_TYPES = "char uchar short ushort int uint long ulong float".split()
_CUDA_FUNCTIONS = """
    abs acos acosh all any asin asinh atan atan2 atanh cbrt ceil clock copysign cos cosh cospi erf erfc erfcinv erfcx
    erfinv exp exp10 exp2 expm1 fabs fdim floor fma fmax fmin fmod frexp hypot ilogb isfinite isinf isnan j0 j1 jn labs
    ldexp lgamma llabs log log10 log1p log2 logb lrint lround max min modf nan nearbyint nextafter norm normcdf
    normcdfinv pow rcbrt remainder remquo rhypot rint rnorm round rsqrt scalbn signbit sin sincos sincospi sinh sinpi
    sqrt tan tanh tanpi tgamma trunc y0 y1 yn""".split()
_CUDA_NAMES = [*("".join(pair) for pair in product(_CUDA_TYPES, "234")), *_CUDA_FUNCTIONS]
_RENAMED = "".join(f"#define {name} msl_{name}\n" for name in _CUDA_NAMES)

_TEXT = '#include <metal_stdlib>\n#line 1 "program_source"\n{}\n#line 1 "launchers"\n'


def headers() -> list[Path]:
    """What a unit includes."""
    return [path for path in sorted(CXX.iterdir()) if path.suffix in ("", ".h")]


def host_unit(text: str, kernels: list[Kernel]) -> str:
    parts = [_TEXT.format(text), '#include "host_launch.h"\n']
    for number, kernel in enumerate(kernels):
        arguments = [_argument(kernel, i, f"buffers[{p.buffer}]") for i, p in enumerate(kernel.parameters)]
        launcher = (
            f'extern "C" MSL_EXPORT void msl_kernel_{number}(const msl::Thread& t, void* const* buffers) {{\n'
            f"  (void)t; (void)buffers; typedef decltype(&{kernel.expression}) F;\n"
            f"  {kernel.expression}({', '.join(arguments)});\n}}\n"
            f'extern "C" MSL_EXPORT void* msl_address_{number}() {{ return (void*)&{kernel.expression}; }}\n'
            f'extern "C" MSL_EXPORT unsigned msl_limit_{number}() {{ return {kernel.max_threads or 0}; }}\n'
        )
        parts.append(_in_namespaces(kernel, launcher))
    return "".join(parts)


def cuda_unit(text: str, kernels: list[Kernel | None], area: int, checked: bool) -> str:
    """`area` is the room for inline data in bytes; `checked` looks at run time, for every parameter, whether its
    argument is inline. Unchecked, `device` parameters are pointers and `constant T&` are inline: faster loads."""
    parts = [_RENAMED, _TEXT.format(text), f'#define MSL_AREA {area}\n#include "cuda_launch.h"\n']
    for number, kernel in enumerate(kernels):
        if kernel is None:  # left out: it takes more memory than the device has
            continue
        arguments = []
        for i, parameter in enumerate(kernel.parameters):
            how = "either" if checked else expected(parameter)
            arguments.append(_argument(kernel, i, f"msl::{how}(block, {parameter.buffer})"))
        # The second bound keeps kernels at 128 registers, so that 512 threads live on a multiprocessor, or as many as a
        # source says: by itself NVRTC takes more, which costs occupancy (istft at n_fft 1024: 0.14 ms with 188).
        threads = kernel.max_threads
        resident = f"({threads}) < MSL_RESIDENT_THREADS ? MSL_RESIDENT_THREADS / ({threads}) : 1"
        bounds = f"__launch_bounds__({threads}, {resident}) " if threads else ""
        launcher = (
            f'extern "C" __global__ void {bounds}msl_kernel_{number}'
            f"(const __grid_constant__ msl::Block<{max(kernel.buffers, 1)}> block) {{\n"
            f"  msl::Thread t; if (!t.locate(block.threads, block.groups)) return;\n"
            f"  typedef decltype(&{kernel.expression}) F;\n"
            f"  {kernel.expression}({', '.join(arguments)});\n}}\n"
        )
        parts.append(_in_namespaces(kernel, launcher))
    return "".join(parts)


def expected(parameter: Parameter) -> str:
    """Where an argument nearly always is: "pointer", "inlined", or "either" where both are usual."""
    if parameter.space == "device":
        return "pointer"
    return "inlined" if parameter.space == "constant" and parameter.reference else "either"


def _argument(kernel: Kernel, index: int, buffer: str) -> str:
    builtin = kernel.parameters[index].builtin
    parameter = f"msl::parameter<{index}, F>"
    return f"msl::builtin<{parameter}>({BUILTINS[builtin]})" if builtin else f"msl::buffer<{parameter}>({buffer})"


def _in_namespaces(kernel: Kernel, body: str) -> str:
    opened = "".join(f"namespace {name} {{ " for name in kernel.namespaces)
    return opened + body + "}" * len(kernel.namespaces) + "\n"
