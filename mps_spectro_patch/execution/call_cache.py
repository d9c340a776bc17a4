"""What is known of calls that were made before: how to launch one again, or why it goes to the original. One look-up.

A key holds everything that decides about a call but the values of its tensors, so a cached answer is final. Where
anything is going on around the call (a mode, a transform, a trace), there is no key, and routing looks at the call.
Values that are part of a launch are looked at again (see kernels/tables/by_tensor.py): those of a filterbank here, as
a part of the key, those of an istft's window in kernels/tables/envelope.py. Nothing here keeps a tensor of the program,
nor a weak reference to one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.autograd import forward_ad

from ..kernels import bases, fft
from ..options import OPS, Options
from ..reasons import Reason
from ..stops import stops
from ..tensors import PLAIN
from . import call_sites, counters

LIMIT = 1024
# Reasons that are not the arguments' own.
_SURROUNDINGS = (Reason.MODE, Reason.TRANSFORM, Reason.FORWARD_AD, Reason.TRACING)
_SOMETIMES = (torch.float32, torch.complex64, torch.float16, torch.bfloat16)  # accelerated in some calls
# Asked on every call: found once.
_compiler, _are_transforms_active = torch.compiler, torch._C._are_functorch_transforms_active
_function_modes, _dispatch_modes = torch._C._len_torch_function_stack, torch._C._len_torch_dispatch_stack
_tracing_state = torch._C._get_tracing_state


class Known:
    """What is known of one call: how it is launched, or (launch None) the reason for which the original does it."""

    __slots__ = ("launch", "reason", "tally", "keep")

    def __init__(self, name: str, launch: Callable | None, reason: Reason | None, keep: Any = None) -> None:
        """keep: of which the key has the id only."""
        self.launch, self.reason, self.tally, self.keep = launch, reason, counters.tally(name, reason), keep


# Replaced whole when answers may have changed: who began before that remembers its answer in the old one, for nobody.
entries: dict[Hashable, Known] = {}
# Of each op, by n_fft or by the input's dtype: those that no kernel does, whatever else the call says.
never: dict[str, dict[object, Known]] = {op: {} for op in OPS}
# The least work worth a kernel in calls without a gradient, by op and device. None: nobody measured it.
least_work: Callable[[str, torch.device], int] | None = None


def is_plain_eager() -> bool:
    """Whether nothing at all is going on around the code that calls. (It may also be that something harmless is.)"""
    return not (
        _function_modes()
        or _dispatch_modes()
        or _are_transforms_active()
        or forward_ad._current_level >= 0
        or _tracing_state() is not None
        or getattr(_compiler, "_is_exporting_flag", False)
    )


def find_never(op: str, arguments: tuple) -> Known | None:
    """The refusal of a call that no kernel does, whatever else it says."""
    refused = never[op]
    if not refused or type(arguments[0]) not in PLAIN:
        return None
    try:
        return refused.get(arguments[1]) or refused.get(arguments[0].dtype)
    except TypeError:  # cannot be hashed
        return None


def find(options: Options, arguments: tuple) -> tuple[Hashable | None, Known | None]:
    """(the key of a call of torch.stft or torch.istft, what is known of it). No key where it cannot be cached.

    The two have arguments of different lengths. Their types are in the key because 1, 1.0 and True are equal, and torch
    takes them differently; addresses, because kernels load pairs of samples where these lie at multiples of 8 bytes.
    """
    input, window = arguments[0], arguments[4]
    if type(input) not in PLAIN or (window is not None and type(window) not in PLAIN) or not is_plain_eager():
        return None, None
    try:
        of_window = None if window is None else (
            window.shape, window.stride(), window.dtype, window.device, window.requires_grad, window.is_conj(),
            window.is_neg(), window.data_ptr() % 8,
        )  # fmt: skip
        key = (
            options.kind, torch.is_grad_enabled(), input.shape, input.stride(), input.dtype, input.device,
            input.requires_grad, input.is_conj(), input.is_neg(), input.data_ptr() % 8, of_window,
            arguments[1:4], arguments[5:], tuple(map(type, arguments)),
        )  # fmt: skip
        return key, entries.get(key)
    except (RuntimeError, TypeError, AttributeError):  # no strides, no memory, a list instead of an int, ...
        return None, None


def find_front_end(
    name: str, options: Options | None, x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, call: Any
) -> tuple[tuple | None, Known | None]:
    """find() for a front end. call: the same object every time."""
    needs_gradient = torch.is_grad_enabled()
    for tensor in (x, window) if basis is None else (x, window, basis):
        if type(tensor) not in PLAIN or (needs_gradient and tensor.requires_grad and tensor is not x):
            return None, None
    if not is_plain_eager():
        return None, None
    try:
        of_basis = None
        if basis is not None:
            values = bases.find(basis)
            if values is None and _may_read(options, x):
                values = bases(basis)  # the same object for the same values, also of a tensor that was made anew
            if values is None:
                return None, None
            of_basis = values, basis.dtype, basis.device
        key = (
            name, id(call), None if options is None else options.front_ends, needs_gradient and x.requires_grad,
            x.shape, x.stride(), x.dtype, x.device, x.is_neg(), x.data_ptr() % 8, window.shape, window.stride(),
            window.dtype, window.device, window.is_neg(), window.data_ptr() % 8, of_basis,
        )  # fmt: skip
        return key, entries.get(key)
    except (RuntimeError, AttributeError):  # no strides, no memory
        return None, None


def has_values(key: tuple, basis: torch.Tensor | None) -> bool:
    """Whether the filterbank has the values that the key of a front end was made of: another thread may change them."""
    return basis is None or basis.is_inference() or bases.find(basis) is key[-1][0]


def _may_read(options: Options | None, x: torch.Tensor) -> bool:
    """Whether the device may be waited for: x is to be accelerated, and no graph is being captured."""
    if not (x.is_mps or (options is not None and options.concerns(x))):
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def find_loss(
    name: str, options: Options | None, call: Any, x: torch.Tensor, *others: torch.Tensor
) -> tuple[Hashable | None, Known | None]:
    """find() for a loss between two signals. call: the same object every time. others: target and windows."""
    needs_gradient = torch.is_grad_enabled()
    for tensor in (x, *others):
        if type(tensor) not in PLAIN or (needs_gradient and tensor.requires_grad and tensor is not x):
            return None, None
    if not is_plain_eager():
        return None, None
    try:
        key = (
            name, id(call), None if options is None else options.front_ends, needs_gradient and x.requires_grad,
            *((one.shape, one.stride(), one.dtype, one.device, one.is_neg(), one.data_ptr() % 8)
              for one in (x, *others)),
        )  # fmt: skip
        return key, entries.get(key)
    except (RuntimeError, AttributeError):  # no strides, no memory
        return None, None


def launched(key: Hashable, known: Known, *tensors: torch.Tensor | None) -> Any:
    """The result of a known call, launched again and counted; None where the full path must run."""
    try:
        result = known.launch(*tensors)
    except stops():
        raise
    except Exception:  # the full path meets it again and handles it
        entries.pop(key, None)
        return None
    if result is not None:
        known.tally.calls += 1
        call_sites.tell(None)
    return result


def remember(into: dict[Hashable, Known], key: Hashable, known: Known) -> None:
    """into: the `entries` that were there before anybody was asked about this call."""
    if len(into) >= LIMIT:
        into.clear()
    into[key] = known


def refuse(into: dict[Hashable, Known], key: Hashable, op: str, reason: Reason, arguments: tuple) -> None:
    """Remembers that such a call goes to the original, if that follows from its arguments."""
    if reason in _SURROUNDINGS or any(isinstance(one, torch.Tensor) for one in (*arguments[1:4], *arguments[5:])):
        return
    input, n_fft = arguments[:2]
    if reason is Reason.DTYPE and input.dtype not in _SOMETIMES:
        never[op].setdefault(input.dtype, Known(op, None, reason))
    elif reason is Reason.N_FFT and not fft.supports(n_fft, False) and not fft.supports(n_fft, True):
        if len(never[op]) < LIMIT:
            never[op].setdefault(n_fft, Known(op, None, reason))
    else:
        remember(into, key, Known(op, None, reason))


def clear() -> None:
    """When the answer to a call may have changed. What no kernel does stays so."""
    global entries
    entries = {}


def set_rule(rule: Callable[[str, torch.device], int] | None) -> None:
    """Which eager calls are too small from now on: those with fewer rows * frames * n_fft than `rule` says."""
    global least_work
    if rule is not least_work:
        least_work = rule
        clear()
