"""reach="dispatcher": kernels of ours on the operators aten::stft and aten::istft themselves, for some devices only.

So TorchScript, C++ callers and names bound early arrive; calls on other devices never come near Python. It sees what
torch.stft has padded already, and leaves code that torch.compile traces to torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._C import DispatchKey

from . import guard, routing, watch
from .current import options_here
from .ops import composite
from .options import logger
from .routing import Reason

# A device's own key alone would lose gradients without a word; its autograd key alone is not asked in inference mode.
KEYS = {"mps": ("MPS", "AutogradMPS"), "cuda": ("CUDA", "AutogradCUDA"), "cpu": ("CPU", "AutogradCPU")}
_OPERATORS = {"stft": "stft.center", "istft": "istft"}  # aten::stft without center calls the one with it
_PATIENCE = 0.002

_libraries: dict[tuple[str, str], torch.library.Library] = {}  # by op and device type
_running = 0  # calls inside our kernels, all threads together
_lock = threading.Lock()


def register(wanted: Iterable[tuple[str, str]]) -> None:
    """Kernels for the (op, device type) pairs that are wanted, and for no others."""
    wanted = set(wanted)
    for pair in [pair for pair in _libraries if pair not in wanted]:
        _destroy(_libraries.pop(pair))
    for op, device_type in sorted(wanted - _libraries.keys()):
        library = torch.library.Library("aten", "IMPL")
        try:
            for key in KEYS[device_type]:
                library.impl(_OPERATORS[op], _KERNELS[op], key)
        except Exception:
            library._destroy()
            raise
        _libraries[op, device_type] = library


def registered() -> list[str]:
    """What is registered, in words."""
    return [f"aten::{_OPERATORS[op]} on {' and '.join(KEYS[kind])}" for op, kind in sorted(_libraries)]


def original(op: str) -> Callable:
    """The operator as it is without a kernel of ours."""
    overload = torch.ops.aten.stft.center if op == "stft" else torch.ops.aten.istft.default
    return lambda *arguments: overload._op_dk(DispatchKey.CompositeImplicitAutograd, *arguments)


def _destroy(library: torch.library.Library) -> None:
    """Removes a registration once no thread is about to run it: torch does not keep a kernel alive for its callers."""
    for _ in range(100):
        time.sleep(_PATIENCE)  # lets those in that torch has already sent to us
        if not _running:
            break
    else:
        logger.warning("a kernel is taken out of the dispatcher while a call is inside it")
    library._destroy()


def _kernel(op: str) -> Callable[..., torch.Tensor]:
    plain = original(op)

    def kernel(*given: Any, **keywords: Any) -> torch.Tensor:
        global _running
        with _lock:
            _running += 1
        try:
            return _act(op, plain, _complete(op, given, keywords))
        finally:
            with _lock:
                _running -= 1

    return kernel


def _complete(op: str, given: tuple, keywords: dict) -> tuple:
    """All arguments of the operator's schema, which torch leaves out where they are defaults."""
    return _ARGUMENTS[op](*given, **keywords)


def _stft_arguments(self, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect",
                    normalized=False, onesided=None, return_complex=None, align_to_window=None) -> tuple:
    return (self, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided, return_complex,
            align_to_window)


def _istft_arguments(self, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False,
                     onesided=None, length=None, return_complex=False) -> tuple:
    return self, n_fft, hop_length, win_length, window, center, normalized, onesided, length, return_complex


def _act(op: str, plain: Callable, arguments: tuple) -> torch.Tensor:
    options = options_here()
    if (
        options is None or op not in options.dispatcher_ops or composite.is_running() or guard.is_busy()
        or type(arguments[0]) not in (torch.Tensor, torch.nn.Parameter)  # traced: fake and functional tensors
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None  # else jit.trace would record nothing of ours, and lose the call
    ):  # fmt: skip
        return plain(*arguments)
    with guard.busy():
        if watch.is_due(op):
            return watch.call(op, arguments, lambda: _decide(op, options, plain, arguments))
        return _decide(op, options, plain, arguments)


def _decide(op, options, plain, arguments) -> torch.Tensor:
    input = arguments[0]
    decision = routing.decide(op, options.flags, arguments)
    if decision is Reason.DEVICE:
        return plain(*arguments)
    if isinstance(decision, Reason):
        return guard.fall_back(op, decision, options, lambda: plain(*arguments))
    return guard.run(op, options, input, arguments[4], decision, lambda: plain(*arguments))


_ARGUMENTS = {"stft": _stft_arguments, "istft": _istft_arguments}
_KERNELS = {op: _kernel(op) for op in _OPERATORS}
