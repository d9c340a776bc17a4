"""Runs one fast call in eager mode: compares it with the original when asked to, survives its errors, counts.

Knows nothing of FFTs and decides nothing about arguments; a plan that went wrong once is not used again.
"""

from __future__ import annotations

import os
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor

from .. import pending
from ..kernels import fft
from ..options import OPS, Options, logger
from ..reasons import Call, FallbackError, Reason, UseOriginal
from . import call_sites, comparison, ready, refusals, torch_warnings
from .torch_internals import STOPS

ops = None  # mps_spectro_patch.ops once something is installed; importing the package must not register operators


class Quarantined(NamedTuple):
    """A plan that is not used again in this process, and why."""

    op: str
    plan: str
    device: str
    why: str


quarantined: dict[tuple, Quarantined] = {}
_used: set[tuple] = set()
_verified: set[tuple] = set()
_troubled: set[str] = set()  # ops of which a warning about trouble that passes was given
_counts: dict[tuple[str, Reason | None], int] = {}  # reason None: fast
_agreed = {op: 0 for op in OPS}  # comparisons that found nothing wrong
_lock = threading.Lock()
_here = threading.local()


class Tally:
    """Calls that pay for no lock: threads may lose one now and then."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


untouched = {op: Tally() for op in OPS}  # calls that are none of our business (Reason.DEVICE)
at_once = {op: Tally() for op in OPS}  # fast calls that were ready


def load_operators() -> None:
    """Imports ops.py before the first layer is installed, so that torch.compile never meets the import."""
    global ops
    from .. import ops as module

    ops = module


def launch(op: str, input: torch.Tensor, window: torch.Tensor | None, call: Call, eager: bool = False) -> torch.Tensor:
    """Calls the operator, with the batch dimension that it wants and torch does not. Traceable by torch.compile.

    eager: nothing is being compiled; where the original turns out to be needed after all, UseOriginal says so.
    """
    # Eager calls take a shorter way than through the dispatcher, which costs as much as the operator's body.
    direct = eager and type(input) is not FakeTensor and not torch._C._len_torch_dispatch_stack()
    if window is None:
        win_length = call.arguments[2]
        window = (
            _ones(win_length, input.device) if direct
            else torch.ones(win_length, dtype=torch.float32, device=input.device)
        )  # fmt: skip
    elif window.dtype is not torch.float32:
        window = window.resolve_conj() if window.is_complex() else window.to(torch.float32)
    window = window.resolve_neg()
    input = input.resolve_conj().resolve_neg()
    if op == "stft":
        operator, single = ops.eager_stft if direct else ops.stft, input.dim() == 1
    else:
        operator, single = ops.eager_istft if direct else ops.istft, input.dim() == 2
    result = operator(input.unsqueeze(0) if single else input, window, *call.arguments)
    if single:
        in_place = direct and _is_own(op, call) and not torch._C._are_functorch_transforms_active()
        result = result.squeeze_(0) if in_place else result.squeeze(0)
    return torch.view_as_real(result) if call.as_real else result


def _make_ready(op: str, options: Options, input: torch.Tensor, window: torch.Tensor, call: Call) -> None:
    """For the next such call, where nothing is to be said or done around it and no gradient of the window is wanted."""
    if call.notices or call.as_real or window.dtype is not torch.float32 or input.is_conj() or input.is_neg():
        return
    single = input.dim() == (1 if op == "stft" else 2)
    make = ops.replay.known if input.requires_grad and torch.is_grad_enabled() else ops.operators.ready
    run = make(op, input.unsqueeze(0) if single else input, window, call.arguments)
    if run is None:
        return

    def of_one(input: torch.Tensor, window: torch.Tensor) -> torch.Tensor | None:
        result = run(input.unsqueeze(0), window)
        if result is None:
            return None
        return result.squeeze_(0) if _is_own(op, call) else result.squeeze(0)

    ready.offer_with_any(input, window, call, options.verify, of_one if single else run)


def _is_own(op: str, call: Call) -> bool:
    """Whether torch's result of a single signal is no view: its spectrum, and a signal that it lengthens."""
    return op == "stft" or "length" in call.notices


def launch_compiled(op: str, input: torch.Tensor, window: torch.Tensor | None, call: Call) -> torch.Tensor:
    """launch() where torch.compile traces."""
    if call.notices:
        torch_warnings.give_while_tracing(call.notices)
    return launch(op, input, window, call)


def run(
    op: str,
    options: Options,
    input: torch.Tensor,
    window: torch.Tensor | None,
    call: Call,
    original: Callable[[], torch.Tensor],
    again: bool = False,
) -> torch.Tensor:
    """The fast result, or the original's where the fast path is not to be trusted. again: such a call is known by
    `call`, the same object, when it comes again: then execution/ready.py may do it."""
    key = (call.plan, input.device)
    if key in quarantined:
        return fall_back(op, Reason.QUARANTINED, options, original)
    # Compiling a kernel or copying a table would break the graph for the original as well.
    if key not in _used and _is_capturing(input):
        return fall_back(op, Reason.CAPTURE, options, original)
    # One kernel holds several ways through: an odd hop or a short window is not vouched for by other calls.
    way = (key, call.way, _gradients_wanted(input, window)) if options.verify != "off" else None
    verifying = way is not None and (options.verify == "always" or way not in _verified)
    # The original gives its own warnings, before the work (stft) or behind it (istft, if it can be inverted).
    due = call.notices and not verifying
    if due and op == "stft":
        torch_warnings.give(call.notices)
    try:
        result = launch(op, input, window, call, eager=True)
    except UseOriginal as refusal:
        return fall_back(op, refusal.reason, options, original)
    except STOPS:
        raise
    except Exception as error:  # whatever broke in our code must not break the program that called torch
        if options.on_error == "raise":
            raise
        return _after_error(key, error, options, original(), _is_capturing(input))
    _used.add(key)
    if verifying and _can_compare(input, result):
        return _verified_result(key, way, options, input, window, call, result, original)
    if call.notices and (op == "istft" or not due):
        torch_warnings.give(call.notices)
    count(op, None)
    if again and window is not None and not verifying:
        _make_ready(op, options, input, window, call)
        if key in quarantined:  # by another thread, meanwhile
            ready.clear()
    return result


def fall_back(op: str, reason: Reason, options: Options, original: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Counts and calls the original, or raises where a strict person asked for that."""
    count(op, reason)
    if options.on_fallback == "raise":
        raise FallbackError(f"torch.{op} was not accelerated ({reason}): {reason.words}")
    return original()


def count(op: str, reason: Reason | None) -> None:
    key = op, reason
    with _lock:
        before = _counts.get(key, 0)
        _counts[key] = before + 1
    call_sites.tell(reason)
    if before == 0 and reason is not None:
        logger.info("torch.%s goes to the original: %s (said once)", op, reason.words)


def counts(reset: bool = False) -> dict[tuple[str, Reason | None], int]:
    with _lock:
        copy = dict(_counts)
        for reason, tallies in ((Reason.DEVICE, untouched), (None, at_once)):
            for op, tally in tallies.items():
                if tally.calls:
                    copy[op, reason] = copy.get((op, reason), 0) + tally.calls
                if reset:
                    tally.calls = 0
        for key, refused in refusals.counts(reset).items():
            copy[key] = copy.get(key, 0) + refused
        if reset:
            _counts.clear()
    return copy


def agreed(reset: bool = False) -> dict[str, int]:
    """Comparisons with the original that found nothing wrong, by op."""
    with _lock:
        copy = dict(_agreed)
        if reset:
            _agreed.update(dict.fromkeys(OPS, 0))
    return copy


@contextmanager
def busy() -> Iterator[None]:
    """While a kernel of ours runs beneath one of torch's operators: what it calls must not come back to it."""
    before, _here.busy = is_busy(), True
    try:
        yield
    finally:
        _here.busy = before


def is_busy() -> bool:
    return getattr(_here, "busy", False)


def _verified_result(
    key: tuple,
    way: tuple,
    options: Options,
    input: torch.Tensor,
    window: torch.Tensor | None,
    call: Call,
    result: torch.Tensor,
    original: Callable[[], torch.Tensor],
) -> torch.Tensor:
    """`result` if it, and its gradients, agree with the original's, else the original's."""
    op = call.plan[0]
    with torch.no_grad():  # else the hooks for saved tensors would see this one, too
        reference = original()
    try:
        finite = comparison.is_finite(input)
        used = _ones(call.arguments[2], input.device) if window is None else window
        weight = comparison.envelope(used, call.arguments, input.shape[-1]) if op == "istft" else None
        wrong = comparison.difference(result, reference, weight, everywhere=finite)
        if wrong and op == "istft" and _ends_leak(result, reference, weight, finite, input, used, call):
            wrong = ""
        told = wrong or finite
        if not wrong and finite and result.requires_grad:
            bare = call._replace(as_real=False)
            wrong = comparison.gradient_difference(
                lambda *tensors: launch(op, *tensors, bare, eager=True),
                lambda *tensors: _composite(op, *tensors, call),
                input, used, weight,
            )  # fmt: skip
    except Exception as error:  # comparing takes memory that the program may not have left
        if options.on_error == "raise":
            raise
        return _after_error(key, error, options, original() if result.requires_grad else reference)
    if wrong:
        _quarantine(key, wrong, f"differs from the original ({wrong})")
        return fall_back(op, Reason.VERIFICATION, options, original if result.requires_grad else lambda: reference)
    if told:
        _verified.add(way)
        with _lock:
            _agreed[op] += 1
    count(op, None)
    return result


def _ends_leak(
    result: torch.Tensor, reference: torch.Tensor, weight: torch.Tensor, finite: bool, input: torch.Tensor,
    window: torch.Tensor, call: Call,
) -> bool:  # fmt: skip
    """Whether all that is wrong is what torch's irfft makes of imaginary parts that it documents as ignored: those of
    bin 0 and of half an even n_fft. cuFFT lets them through at some sizes (pytorch issue 154496)."""
    n_fft, onesided = call.arguments[0], call.arguments[5]
    if not onesided or result.is_complex():
        return False
    with torch.no_grad():
        right = _composite("istft", comparison.with_real_ends(input, n_fft), window, call)
        if right.shape != reference.shape:
            return False
        right = torch.empty_like(reference).copy_(right)  # in the original's memory order
    if comparison.difference(result, right, weight, everywhere=finite):
        return False
    logger.info("torch.istft on %s counts imaginary parts of the first and the last bin at n_fft=%s; the fast one "
                "ignores them, as torch documents it", input.device, n_fft)  # fmt: skip
    return True


def _gradients_wanted(input: torch.Tensor, window: torch.Tensor | None) -> tuple[bool, bool] | None:
    """Of input and window, as far as autograd is asked for any."""
    wanted = input.requires_grad, window is not None and window.requires_grad
    return wanted if any(wanted) and torch.is_grad_enabled() else None


def _composite(op: str, input: torch.Tensor, window: torch.Tensor, call: Call) -> torch.Tensor:
    """launch() made of torch's own functions, none of which warns."""
    single = input.dim() == (1 if op == "stft" else 2)
    input = input.unsqueeze(0) if single else input
    if op == "stft":
        result = ops.composite.stft(input, window, *call.arguments)
    else:
        n_fft, hop, _, center, _, _, samples, return_complex = call.arguments
        reached = min(samples, n_fft + hop * (input.shape[-1] - 1) - (n_fft // 2 if center else 0))
        result = ops.composite.istft(input, window, *call.arguments[:6], reached, return_complex)
        result = torch.nn.functional.pad(result, (0, samples - reached))
    return result.squeeze(0) if single else result


@lru_cache(maxsize=64)
def _ones(win_length: int, device: torch.device) -> torch.Tensor:
    """The window of a call without one. Always the same tensor: istft knows its envelope again."""
    with torch.inference_mode(False), torch.no_grad():  # it may be saved for a backward pass
        return torch.ones(win_length, dtype=torch.float32, device=device)


def _after_error(
    key: tuple, error: Exception, options: Options, result: torch.Tensor, passing: bool = False
) -> torch.Tensor:
    """The original's result instead of ours. (Where the original raised too, the call was wrong, and not the plan.)"""
    if passing or isinstance(error, torch.OutOfMemoryError):  # will pass: no reason for a quarantine
        _warn_of_passing_trouble(key[0][0], error)
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"
        what = f"{type(error).__name__}: {error}"
        logger.debug("fast path of torch.%s", key[0][0], exc_info=error)
        _quarantine(key, what, f"raised {what} ({where})")
    return fall_back(key[0][0], Reason.ERROR, options, lambda: result)


def _warn_of_passing_trouble(op: str, error: Exception) -> None:
    """To the program once, to the log every time."""
    sentence = f"torch.{op}: the fast path could not be taken now: {error}"
    logger.warning("%s", sentence)
    with _lock:
        first = op not in _troubled
        _troubled.add(op)
    if first:
        text = f"mps_spectro_patch: {sentence}. The original's result was used."
        warnings.warn(text, RuntimeWarning, stacklevel=call_sites.caller()[1])


def _quarantine(key: tuple, why: str, sentence: str) -> None:
    """Never this plan again, and one warning, attributed to whoever called torch.stft."""
    which, device = key
    op = which[0]
    entry = Quarantined(op, fft.describe(*which), str(device), why)
    with _lock:
        first = quarantined.setdefault(key, entry) is entry
        ready.clear()
    if first:
        warnings.warn(
            f"mps_spectro_patch: the fast torch.{op} {sentence} for plan '{entry.plan}' on {entry.device}, torch "
            f"{torch.__version__}. The original's result was used, and this plan is not used again in this process. "
            f"Please report this: open an issue of mps_spectro_patch with this message and the text of "
            f"mps_spectro_patch.status().",
            RuntimeWarning,
            stacklevel=call_sites.caller()[1],
        )


def _can_compare(input: torch.Tensor, result: torch.Tensor) -> bool:
    """Not for tensors without data, nor where reading a result back would break a CUDA graph being captured."""
    fake = type(input) is FakeTensor or type(result) is FakeTensor
    return not fake and not torch._C._are_functorch_transforms_active() and not _is_capturing(input)


def _is_capturing(input: torch.Tensor) -> bool:
    return input.is_cuda and torch.cuda.is_current_stream_capturing()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # another thread may hold the lock at the moment of a fork
    os.register_at_fork(after_in_child=_renew_lock)

pending.catch_up(__name__)
