"""From a kernel's text and arguments to launches: compiles once per device type, binds once.

Knows no transform: the other modules of this folder say what to compile and with which arguments.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..compilers import compile_shader
from .params import Params, declarations

_METAL = Path(__file__).parents[1] / "metal"
_INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)
_DEVICE_NAMES = {"cpu": "simulator", "cuda": "cuda", "mps": "mps"}

# Threads that a device keeps resident at the kernels' 128 registers each (H100: 132 x 512; Apple: a guess for a Max,
# not measured). Launches choose by it how many frames one threadgroup takes.
RESIDENT_THREADS = {"cpu": 256, "cuda": 67_584, "mps": 20_480}

# Everything of a launch that does not change from call to call, as a function of the tensors that do.
Recipe = Callable[..., None]

# A call that is known but for the samples and the values of its window. None: torch must decide about that window.
Ready = Callable[[torch.Tensor, torch.Tensor], torch.Tensor | None]

# Types of samples, as Metal has them.
SAMPLE_TYPES = {torch.float32: "float", torch.float16: "half", torch.bfloat16: "bfloat", torch.complex64: "float2"}


def kernel_text(name: str, defines: str = "") -> str:
    """The Metal text of a kernel, as given to every compiler: the structs of its parameters, `defines`, then its file
    with every file that it includes in its place, once."""
    text = _inlined(_files()[name], set())
    return f"#include <metal_stdlib>\nusing namespace metal;\n\n{declarations(text)}\n{defines}\n{text}"


@cache
def kernel(name: str, defines: str, device_type: str) -> Callable[..., None]:
    """The compiled kernel on a device type ("cpu" runs the simulator)."""
    return getattr(compile_shader(kernel_text(name, defines), _DEVICE_NAMES[device_type]), name)


def recipe(compiled: Callable[..., None], args: list[Any], groups: int, threads: int, device: torch.device) -> Recipe:
    """A launch of `groups` threadgroups of `threads`. args: None for each tensor that a call brings."""
    args = [arg.packed() if isinstance(arg, Params) else arg for arg in args]
    integers = (position for position, arg in enumerate(args) if isinstance(arg, list) and type(arg[0]) is int)
    casts = dict.fromkeys(integers, "int32")
    options: dict[str, Any] = dict(threads=groups * threads, group_size=threads, arg_casts=casts)
    if hasattr(compiled, "prepare"):
        return compiled.prepare(args, index=device.index or 0, **options)

    def launch(*tensors: torch.Tensor) -> None:
        brought = iter(tensors)
        compiled(*[next(brought) if arg is None else arg for arg in args], **options)

    return launch


def gapless(signal: torch.Tensor) -> torch.Tensor:
    """[..., samples] whose samples follow each other in memory: the same, or a copy."""
    return signal if signal.stride(-1) == 1 else signal.contiguous()


def readable(signal: torch.Tensor) -> torch.Tensor:
    """A signal [..., samples] as kernels read it: without gaps, and not in bfloat16 where their language has none: on
    macOS 13 and on the GPUs of virtual machines."""
    if signal.dtype is torch.bfloat16 and not _has_bfloat(_DEVICE_NAMES[signal.device.type]):
        signal = signal.float()
    return gapless(signal)


@cache
def _has_bfloat(device: str) -> bool:
    if device != "mps":
        return True
    try:
        compile_shader("kernel void probe(device bfloat* x [[buffer(0)]]) { x[0] = bfloat(1.0f); }", device).probe  # noqa: B018
    except (RuntimeError, SyntaxError):  # for whatever reason: a copy does no harm
        return False
    return True


def empty_spectrum(rows: int, bins: int, frames: int, device: torch.device) -> torch.Tensor:
    """[rows, bins, frames] complex64, frame by frame in memory."""
    strides = frames * bins, 1, bins
    return torch.empty_strided((rows, bins, frames), strides, dtype=torch.complex64, device=device)


def starts_at_pair(signal: torch.Tensor) -> bool:
    """Whether the first sample sits at a multiple of 8 bytes. (MPS gives no addresses, but its buffers start aligned.
    Its data_ptr() tells two such tensors apart as well, which is what caches use.)"""
    if signal.is_mps:
        return signal.storage_offset() * signal.element_size() % 8 == 0
    return signal.data_ptr() % 8 == 0


@cache
def text_digest() -> str:
    """Of all that the Metal text is made of: an editable checkout changes it without a new version."""
    paths = [*sorted(_METAL.rglob("*.metal")), Path(__file__).with_name("params.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


@cache
def _files() -> dict[str, str]:
    """By the names of the kernels, where each is."""
    paths = [f"kernels/{path.name}" for path in sorted(_METAL.glob("kernels/*.metal"))]
    return {name: path for path in paths for name in re.findall(r"^kernel void (\w+)\(", _read(path), re.MULTILINE)}


def _inlined(path: str, seen: set[str]) -> str:
    seen.add(path)
    return _INCLUDE.sub(lambda found: "" if found[1] in seen else _inlined(found[1], seen), _read(path))


@cache
def _read(path: str) -> str:
    return (_METAL / path).read_text(encoding="ascii")
