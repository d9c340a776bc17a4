"""Calls that went to the original before, for a reason that will hold again: told by one look-up, counted in one slot.

Only reasons that follow from what the key holds are remembered, so nothing here decides about a call: where the key
is not found, or something is going on around the call, patching/layers.py goes the whole way.
"""

from __future__ import annotations

import torch

from ..kernels import fft
from ..options import OPS, Options
from ..reasons import Reason
from . import call_sites

_LIMIT = 1024
_REASONS = (Reason.DTYPE, Reason.N_FFT, Reason.TUNED)
_SOMETIMES = (torch.float32, torch.complex64, torch.float16, torch.bfloat16)  # accelerated in some calls
# Asked on every call: found once. A function mode, or a trace, would see us look at a tensor.
_function_modes, _tracing_state = torch._C._len_torch_function_stack, torch._C._get_tracing_state
_are_transforms_active = torch._C._are_functorch_transforms_active


class Refusal:
    """calls: that were refused by it, of which one in so many is looked at by execution/call_sites.py. Threads may
    lose one: no lock.

    small_on: the index of the device on which such a call is too small; None where another reason holds on all.
    """

    __slots__ = ("calls", "op", "reason", "small_on")

    def __init__(self, op: str, reason: Reason, small_on: int | None) -> None:
        self.op, self.reason, self.small_on, self.calls = op, reason, small_on, 0


# By what the reasons follow from. 1, 1.0 and True are equal here, and torch takes them differently; but where one is
# refused, no kernel does the others.
known: dict[tuple, Refusal] = {}
# Of each op, by n_fft or by the input's dtype: those for which every call is refused, whatever else it says.
always: dict[str, dict[object, Refusal]] = {op: {} for op in OPS}
_forgotten: dict[tuple[str, Reason], int] = {}  # calls of refusals that are not known any more


def find(kind: str, input: torch.Tensor, window: torch.Tensor | None, *rest: object) -> Refusal | None:
    """The refusal of such a call, counted. kind: of the options; input: of a plain type, on an accelerated device;
    rest: in torch's order."""
    if _function_modes() or _tracing_state() is not None:
        return None
    try:
        window_dtype = None if window is None else window.dtype
        refusal = known.get((kind, input.shape, input.dtype, window_dtype, rest))
    except (RuntimeError, TypeError, AttributeError):  # no shape, a list instead of an int, ...
        return None
    if refusal is None or (refusal.small_on is not None and not _is_too_small(refusal.small_on, input, window)):
        return None
    refusal.calls += 1
    return refusal


def remember(op: str, reason: Reason, options: Options, arguments: tuple) -> None:
    """For the next such call, once execution/call_sites.py looks at a sample only."""
    if reason not in _REASONS or options.on_fallback == "raise" or not call_sites.is_sampling(op):
        return
    if len(known) + sum(map(len, always.values())) >= _LIMIT:
        clear()
    input, window = arguments[0], arguments[4]
    if reason is Reason.DTYPE and input.dtype not in _SOMETIMES:
        always[op].setdefault(input.dtype, Refusal(op, reason, None))
        return
    if reason is Reason.N_FFT and not fft.supports(arguments[1], False) and not fft.supports(arguments[1], True):
        always[op].setdefault(arguments[1], Refusal(op, reason, None))
        return
    window_dtype = None if window is None else window.dtype
    key = options.kind, input.shape, input.dtype, window_dtype, (*arguments[1:4], *arguments[5:])
    known.setdefault(key, Refusal(op, reason, input.get_device() if reason is Reason.TUNED else None))


def _is_too_small(device: int, input: torch.Tensor, window: torch.Tensor | None) -> bool:
    """Where a gradient is wanted, or a transform hides more rows, a small call may be worth a kernel yet."""
    wants = torch.is_grad_enabled() and (input.requires_grad or (window is not None and window.requires_grad))
    return not wants and input.get_device() == device and not _are_transforms_active()


def counts(reset: bool = False) -> dict[tuple[str, Reason], int]:
    """Refused calls, by op and reason. reset: from now on; execution/call_sites.py wants to see the first calls
    again, too."""
    found = dict(_forgotten)
    for refusal in _all():
        key = refusal.op, refusal.reason
        found[key] = found.get(key, 0) + refusal.calls
    if reset:
        _forgotten.clear()
        _forget()
    return found


def clear() -> None:
    """When the answer to such calls may have changed."""
    _forgotten.update(counts())
    _forget()


def _all() -> list[Refusal]:
    return [refusal for table in (known, *always.values()) for refusal in list(table.values())]


def _forget() -> None:
    for table in (known, *always.values()):  # which patching/layers.py holds
        table.clear()
