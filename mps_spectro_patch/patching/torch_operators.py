"""reach="dispatcher": our implementations of the operators aten::stft and aten::istft, for some devices only.

They also get the calls of TorchScript, of C++ and of names bound early; calls on other devices do not reach Python. The
input is already padded by torch.stft. Code that torch.compile traces is left to torch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch._C import DispatchKey
from torch._C._dynamo import eval_frame

from ..active import options_here
from ..execution import from_caller, runner, trouble
from ..ops import composite, torch_library
from ..options import Options, logger
from ..pending import kept
from ..tensors import PLAIN

# A device's own key alone would lose gradients without a word; its autograd key alone is not asked in inference mode.
KEYS = {"mps": ("MPS", "AutogradMPS"), "cuda": ("CUDA", "AutogradCUDA"), "cpu": ("CPU", "AutogradCPU")}
_OPERATORS = {"stft": "stft.center", "istft": "istft"}  # aten::stft without center calls the one with it

# By op and device type.
_libraries: dict[tuple[str, str], torch.library.Library] = kept(__name__, "libraries", {})
_wanted: set[tuple[str, str]] = kept(__name__, "wanted", set())
# torch frees a kernel when it is removed, even while a thread that is about to enter it waits for the interpreter. So
# they are kept until no thread can have waited that long. Before torch 2.9 there was no way to do that.
_get_kernel = getattr(torch.library, "get_kernel", None)
_kept: deque[object] = kept(__name__, "kept", deque(maxlen=4096))


def register(wanted: Iterable[tuple[str, str]]) -> None:
    """Kernels for the (op, device type) pairs that are wanted, and for no others.

    Before torch 2.9, and with other threads about, kernels that are not wanted any more stay, and do nothing.
    """
    wanted = set(wanted)
    _wanted.update(wanted)
    _wanted.intersection_update(wanted)
    for pair in _libraries.keys() - _wanted:
        if _get_kernel is None and threading.active_count() > 1:
            logger.warning("aten::%s keeps a kernel that does nothing: other threads may be inside it", pair[0])
        else:
            _libraries.pop(pair)._destroy()
    for op, device_type in sorted(_wanted - _libraries.keys()):
        library = torch_library.make("aten", "IMPL")
        try:
            for key in KEYS[device_type]:
                library.impl(_OPERATORS[op], _KERNELS[op], key)
                if _get_kernel is not None:
                    _kept.append(_get_kernel(f"aten::{_OPERATORS[op]}", key))
        except Exception as error:  # up to torch 2.11 at least: where somebody else has registered one
            library._destroy()
            raise RuntimeError(f"reach='dispatcher' is not possible on {device_type}: {error}") from error
        _libraries[op, device_type] = library


def registered() -> list[str]:
    """What is registered, in words."""
    return [
        f"aten::{_OPERATORS[pair[0]]} on {' and '.join(KEYS[pair[1]])}{'' if pair in _wanted else ', inert'}"
        for pair in sorted(_libraries)
    ]


def original(op: str) -> Callable:
    """The operator as it is without a kernel of ours."""
    overload = _overload(op)
    return partial(overload._op_dk, DispatchKey.CompositeImplicitAutograd)


def _overload(op: str) -> torch._ops.OpOverload:
    return torch.ops.aten.stft.center if op == "stft" else torch.ops.aten.istft.default


def _kernel(op: str) -> Callable[..., torch.Tensor]:
    own, defaults = original(op), [argument.default_value for argument in _overload(op)._schema.arguments]

    def plain(*arguments: Any) -> torch.Tensor:
        return from_caller.call(own, arguments, {})  # from torch 2.15 on, warnings would name a line of ours

    def kernel(*given: Any) -> torch.Tensor:
        arguments = *given, *defaults[len(given) :]  # torch leaves out what is as the schema says
        options = failure = None
        try:
            options = _options_for(op, arguments[0])
        except Exception as error:
            if runner.goes_on(options, error):
                raise
            options, failure = None, trouble.trouble_of(error)
        if options is None:
            result = plain(*arguments)
            if failure is not None:
                trouble.give_up(op, failure)
            return result
        before, composite.here.is_left = composite.here.is_left, True  # what the call makes must not come back here
        try:
            return runner.call(op, options, arguments, plain, arguments, {}, cached=False)
        finally:
            composite.here.is_left = before

    # Beside a graph break torch.compile would compile our code. It shall skip this function and all that it calls.
    skip = eval_frame._FrameAction.SKIP
    eval_frame.set_code_exec_strategy(kernel.__code__, eval_frame._FrameExecStrategy(skip, skip))
    return kernel


def _options_for(op: str, input: torch.Tensor) -> Options | None:
    """Those that hold here, if such a call is ours."""
    options = options_here()
    if (
        options is None or op not in options.dispatcher_ops or composite.here.is_left
        or type(input) not in PLAIN  # traced: fake and functional tensors
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None  # else jit.trace would record nothing of ours, and lose it
        or not options.concerns(input)
    ):  # fmt: skip
        return None
    return options


_KERNELS = {op: _kernel(op) for op in _OPERATORS}
