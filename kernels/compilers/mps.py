"""Metal source on Apple GPUs: torch's own compiler, behind the name the other two share.
Adds nothing to it but a clear error where it is not available."""

from __future__ import annotations

from typing import Any

import torch


def compile_shader(source: str) -> Any:
    compiler = getattr(torch.mps, "compile_shader", None)
    if compiler is None:
        raise RuntimeError(f"torch.mps.compile_shader needs torch 2.7 or newer, this is torch {torch.__version__}")
    if not torch.backends.mps.is_available():
        raise RuntimeError("MPS is not available")
    return compiler(source)
