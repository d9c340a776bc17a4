"""Errors that are the moment's and no verdict on a plan: shortage of memory, time-outs, interruptions, by whatever
exceptions and words a backend reports them. (MPS has a plain RuntimeError for all of them.)"""

from __future__ import annotations

import errno

import torch

# Without anything between the letters. Memory: of MPS and Metal (kIOGPUCommandBufferCallbackErrorOutOfMemory), of the
# CPU's allocator and C++'s, of CUDA (CUDA_ERROR_OUT_OF_MEMORY, cudaErrorMemoryAllocation) and its libraries
# (CUFFT_ALLOC_FAILED), of a C++ compiler, which the system may have killed.
_MEMORY = (
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
# Of Metal's command buffers (kIOGPUCommandBufferCallbackErrorTimeout, ...Hang, ...ImpactingInteractivity, and of those
# that suffer from another's: ...InnocentVictim, ...SubmissionsIgnored), of its compiler, which is another process
# (XPC_ERROR_CONNECTION_INTERRUPTED), of CUDA (cudaErrorLaunchTimeout).
_TIME = (
    *("callbackerrortimeout", "gputimeout", "timedout", "callbackerrorhang", "gpuhang", "impactinginteractivity"),
    *("innocentvictim", "victimofgpu", "submissionsignored", "connectioninterrupted", "connectioninvalid"),
)


def passes(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError, TimeoutError, InterruptedError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = "".join(filter(str.isalpha, str(error).lower()))
    return isinstance(error, (RuntimeError, SyntaxError)) and any(words in text for words in (*_MEMORY, *_TIME))
