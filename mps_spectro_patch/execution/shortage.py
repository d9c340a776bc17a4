"""Shortage of memory, by whatever exception and words a backend reports it. It passes: it is no verdict on a plan."""

from __future__ import annotations

import errno

import torch

# Without anything between the letters. Of MPS and Metal (kIOGPUCommandBufferCallbackErrorOutOfMemory), of the CPU's
# allocator and C++'s, of CUDA (CUDA_ERROR_OUT_OF_MEMORY, cudaErrorMemoryAllocation) and its libraries
# (CUFFT_ALLOC_FAILED), of a C++ compiler, which the system may have killed.
_WORDS = (
    *(
        "outofmemory",
        "notenoughmemory",
        "insufficientmemory",
        "allocatememory",
        "memoryallocation",
        "invalidbuffersize",
    ),
    *("badalloc", "allocfailed", "failedtoallocate", "unabletoallocate", "killedsignalterminatedprogram"),
)


def is_shortage(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = "".join(filter(str.isalpha, str(error).lower()))
    return isinstance(error, (RuntimeError, SyntaxError)) and any(words in text for words in _WORDS)
