"""Lets torch build autograd graphs of fake MPS tensors on machines whose torch knows no MPS.

Without it torch aborts the process (there is nobody to ask for the device's current stream). Gradients are then pulled
back node by node, because torch's engine insists on a real accelerator.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch.autograd.function import BackwardCFunction

from mps_spectro_patch.kernels.compilers import simulator

_SOURCE = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace c10 { namespace impl {
C10_REGISTER_GUARD_IMPL(MPS, NoOpDeviceGuardImpl<DeviceType::MPS>);
} }
"""


@cache
def register() -> None:
    """A device guard for MPS that does nothing, in this process, unless torch has a real one."""
    if torch.backends.mps.is_built():
        return
    home = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "guard.cpp"), Path(folder, "guard.so")
        source.write_text(_SOURCE)
        command = [*simulator._compiler_command(), "-std=c++20", "-O0", "-shared", "-fPIC", f"-I{home / 'include'}"]
        command += [str(source), "-o", str(library), f"-L{home / 'lib'}", "-lc10"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        ctypes.CDLL(str(library))


def pull_back(result: torch.Tensor, gradient: torch.Tensor) -> dict[int, torch.Tensor]:
    """The gradients of the leaves under `result`, by the leaf's id: what backward() would accumulate."""
    found: dict[int, torch.Tensor] = {}

    def visit(node, gradient: torch.Tensor) -> None:
        if hasattr(node, "variable"):
            key = id(node.variable)
            found[key] = found[key] + gradient if key in found else gradient
            return
        given = node.apply(gradient) if isinstance(node, BackwardCFunction) else node(gradient)
        given = given if isinstance(given, tuple) else (given,)
        for (following, _), one in zip(node.next_functions, given, strict=False):
            if following is not None and one is not None:
                visit(following, one)

    with torch.no_grad():
        visit(result.grad_fn, gradient)
    return found
