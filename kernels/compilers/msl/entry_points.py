"""Generates, for each translated kernel, the C++ function that gathers its arguments and calls it.
Holds the text after the kernels in a translation unit; how it is compiled and launched is
kernels/compilers/simulator.py's and kernels/compilers/cuda.py's."""

from __future__ import annotations

from .translate import Kernel, Parameter

# Each builtin as an expression over `t` (host: the simulator's Thread; CUDA: the same fields from the hardware).
_VECTORS = {
    "thread_position_in_grid": "position",
    "threadgroup_position_in_grid": "group",
    "thread_position_in_threadgroup": "local",
    "threads_per_threadgroup": "actual",
    "dispatch_threads_per_threadgroup": "requested",
    "threads_per_grid": "threads",
    "grid_size": "threads",
    "threadgroups_per_grid": "groups",
    "grid_origin": "origin",
}
_SCALARS = {
    "thread_index_in_threadgroup": "t.index",
    "thread_index_in_simdgroup": "t.lane",
    "simdgroup_index_in_threadgroup": "t.simdgroup",
    "simdgroups_per_threadgroup": "t.simdgroups",
    "dispatch_simdgroups_per_threadgroup": "(t.requested[0] * t.requested[1] * t.requested[2] + 31) / 32",
    "threads_per_simdgroup": "32",
    "thread_execution_width": "32",
    "thread_index_in_quadgroup": "t.index % 4",
    "quadgroup_index_in_threadgroup": "t.index / 4",
    "quadgroups_per_threadgroup": "(t.actual[0] * t.actual[1] * t.actual[2] + 3) / 4",
    "dispatch_quadgroups_per_threadgroup": "(t.requested[0] * t.requested[1] * t.requested[2] + 3) / 4",
}


def host_unit(text: str, kernels: list[Kernel]) -> str:
    parts = ['#include <metal_stdlib>\n#line 1 "program_source"\n', text, '\n#line 1 "launchers"\n']
    parts.append('#include "host_launch.h"\n')
    for number, kernel in enumerate(kernels):
        arguments = [_argument(kernel, i, f"buffers[{p.buffer}]") for i, p in enumerate(kernel.parameters)]
        limit = kernel.max_threads or "0"
        parts.append(
            _in_namespaces(
                kernel,
                (
                    f'extern "C" MSL_EXPORT void msl_kernel_{number}(const msl::Thread& t, void* const* buffers) {{\n'
                    f"  (void)t; (void)buffers; typedef decltype(&{kernel.expression}) F;\n"
                    f"  {kernel.expression}({', '.join(arguments)});\n}}\n"
                    f'extern "C" MSL_EXPORT void* msl_address_{number}() {{ return (void*)&{kernel.expression}; }}\n'
                    f'extern "C" MSL_EXPORT unsigned msl_limit_{number}() {{ return {limit}; }}\n'
                ),
            )
        )
    return "".join(parts)


def cuda_unit(text: str, kernels: list[Kernel | None], area: int, checked: bool) -> str:
    """`area` is the room for inline data in bytes; `checked` looks at run time, for every parameter, whether its
    argument is inline. Unchecked, `device` parameters are pointers and `constant T&` are inline: faster loads."""
    parts = ['#include <metal_stdlib>\n#line 1 "program_source"\n', text, '\n#line 1 "launchers"\n']
    parts.append(f'#define MSL_AREA {area}\n#include "cuda_launch.h"\n')
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
        slots = max(kernel.buffers, 1)
        parts.append(
            _in_namespaces(
                kernel,
                (
                    f'extern "C" __global__ void {bounds}msl_kernel_{number}'
                    f"(const __grid_constant__ msl::Block<{slots}> block) {{\n"
                    f"  msl::Thread t; if (!t.locate(block.threads, block.groups)) return;\n"
                    f"  typedef decltype(&{kernel.expression}) F;\n"
                    f"  {kernel.expression}({', '.join(arguments)});\n}}\n"
                ),
            )
        )
    return "".join(parts)


def expected(parameter: Parameter) -> str:
    """Where an argument nearly always is: "pointer", "inlined", or "either" where both are usual."""
    if parameter.space == "device":
        return "pointer"
    return "inlined" if parameter.space == "constant" and parameter.reference else "either"


def _argument(kernel: Kernel, index: int, buffer: str) -> str:
    builtin = kernel.parameters[index].builtin
    parameter = f"msl::parameter<{index}, F>"
    if builtin is None:
        return f"msl::buffer<{parameter}>({buffer})"
    if builtin in _VECTORS:
        name = _VECTORS[builtin]
        return f"msl::position<{parameter}>(t.{name}[0], t.{name}[1], t.{name}[2])"
    return f"({parameter})({_SCALARS[builtin]})"


def _in_namespaces(kernel: Kernel, body: str) -> str:
    opened = "".join(f"namespace {name} {{ " for name in kernel.namespaces)
    return opened + body + "}" * len(kernel.namespaces) + "\n"
