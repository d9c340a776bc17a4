"""Shortage of memory, by whatever exception and words a backend reports it. It passes: it is no verdict on a plan."""

from __future__ import annotations

import errno

import torch

# Of MPS, of the CPU's allocator, of the CUDA driver (CUDA_ERROR_OUT_OF_MEMORY), of a C++ compiler.
_WORDS = ("out of memory", "not enough memory", "allocate memory", "invalid buffer size", "bad alloc")


def is_shortage(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower().replace("_", " ")
    return isinstance(error, (RuntimeError, SyntaxError)) and any(words in text for words in _WORDS)
