"""Runs one fast call in eager mode: compares it with the original when asked to, survives its errors, counts.

Knows nothing of FFTs and decides nothing about arguments; a plan that went wrong once is not used again.
"""

from __future__ import annotations

import os
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor

from .options import OPS, Options, logger
from .routing import FallbackError, Reason, UseOriginal, plan_name

# Two correct float32 transforms differ by about 1e-7; a wrong index or a lost bin by about 1.
TOLERANCE = 1e-4
TINY = 1e-30

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
_counts: dict[tuple[str, Reason | None], int] = {}  # reason None: fast
_lock = threading.Lock()
# Calls that are none of our business (Reason.DEVICE). They pay for no lock, so threads may lose one now and then.
untouched = {op: 0 for op in OPS}


def load_operators() -> None:
    """Imports ops.py before the first layer is installed, so that torch.compile never meets the import."""
    global ops
    from . import ops as module

    ops = module


def launch(
    op: str, input: torch.Tensor, window: torch.Tensor, arguments: tuple, eager: bool = False
) -> torch.Tensor:
    """Calls the operator, with the batch dimension that it wants and torch does not. Traceable by torch.compile.

    eager: nothing is being compiled; where the original turns out to be needed after all, UseOriginal says so.
    """
    # Eager calls take the operator's body itself: routing has seen to it that no gradient or transform wants this call,
    # so the dispatcher has nothing to add, and it costs as much as the body.
    direct = eager and type(input) is not FakeTensor and not torch._C._len_torch_dispatch_stack()
    window = window.resolve_neg()
    if op == "stft":
        stft = ops.run_stft if direct else ops.stft
        input = input.resolve_neg()
        if input.dim() == 1:
            # In place where nobody is watching: torch's own result is no view.
            spectrum = stft(input.unsqueeze(0), window, *arguments)
            return spectrum.squeeze_(0) if eager else spectrum.squeeze(0)
        return stft(input, window, *arguments)
    istft = ops.run_istft if direct else ops.istft
    input = input.resolve_conj().resolve_neg()
    if input.dim() == 2:
        return istft(input.unsqueeze(0), window, *arguments, strict=eager).squeeze(0)
    return istft(input, window, *arguments, strict=eager)


def run(op: str, options: Options, input: torch.Tensor, window: torch.Tensor, arguments: tuple,
        original: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The fast result, or the original's where the fast path is not to be trusted."""
    key = (op, arguments[0], input.device)  # a plan is made from the op and n_fft alone
    if key in quarantined:
        return fall_back(op, Reason.QUARANTINED, options, original)
    # Compiling a kernel or copying a table would break the graph for the original as well.
    if key not in _used and _is_capturing(input):
        return fall_back(op, Reason.CAPTURE, options, original)
    try:
        result = launch(op, input, window, arguments, eager=True)
    except UseOriginal as refusal:
        return fall_back(op, refusal.reason, options, original)
    except Exception as error:  # whatever broke in our code must not break the program that called torch
        if options.on_error == "raise":
            raise
        return _after_error(key, error, options, original(), _is_capturing(input))
    _used.add(key)
    # One kernel holds several ways through: an odd hop or a short window is not vouched for by other calls.
    way = (*key, arguments[1] % 2, arguments[2] == arguments[0])
    if options.verify != "off" and (options.verify == "always" or way not in _verified) and _can_compare(input):
        return _verified_result(key, way, options, input, window, arguments, result, original())
    count(op, None)
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
    if before == 0 and reason is not None:
        logger.info("torch.%s goes to the original: %s (said once)", op, reason.words)


def counts(reset: bool = False) -> dict[tuple[str, Reason | None], int]:
    with _lock:
        copy = dict(_counts)
        copy.update({(op, Reason.DEVICE): passed for op, passed in untouched.items() if passed})
        if reset:
            _counts.clear()
            untouched.update(dict.fromkeys(OPS, 0))
    return copy


def _verified_result(key: tuple, way: tuple, options: Options, input: torch.Tensor, window: torch.Tensor,
                     arguments: tuple, result: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """`result` if it agrees with the original's `reference`, else `reference`."""
    op = key[0]
    try:
        finite = bool(torch.isfinite(_as_real(input)).all())
        weight = envelope(window, arguments, input.shape[-1]) if op == "istft" else None
        wrong = difference(result, reference, weight, everywhere=finite)
    except Exception as error:  # comparing takes memory that the program may not have left
        if options.on_error == "raise":
            raise
        return _after_error(key, error, options, reference, depth=7)
    if wrong:
        _quarantine(key, wrong, f"differs from the original ({wrong})")
        return fall_back(op, Reason.VERIFICATION, options, lambda: reference)
    if finite:
        _verified.add(way)
    count(op, None)
    return result


def _after_error(
    key: tuple, error: Exception, options: Options, result: torch.Tensor, passing: bool = False, depth: int = 6
) -> torch.Tensor:
    """The original's result instead of ours. (Where the original raised too, the call was wrong, and not the plan.)"""
    if passing or isinstance(error, torch.OutOfMemoryError):  # will pass: no reason for a quarantine
        logger.warning("torch.%s: the fast path could not be taken now: %s", key[0], error)
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"
        what = f"{type(error).__name__}: {error}"
        logger.debug("fast path of torch.%s", key[0], exc_info=error)
        _quarantine(key, what, f"raised {what} ({where})", depth)
    return fall_back(key[0], Reason.ERROR, options, lambda: result)


def _quarantine(key: tuple, why: str, sentence: str, depth: int = 6) -> None:
    """Never this plan again, and one warning, attributed to whoever called torch.stft `depth` frames up."""
    op, n_fft, device = key
    entry = Quarantined(op, plan_name(op, n_fft), str(device), why)
    with _lock:
        first = quarantined.setdefault(key, entry) is entry
    if first:
        warnings.warn(
            f"mps_spectro_patch: the fast torch.{op} {sentence} for plan '{entry.plan}' on {entry.device}, torch "
            f"{torch.__version__}. The original's result was used, and this plan is not used again in this process. "
            f"Please report this: open an issue of mps_spectro_patch with this message and the text of "
            f"mps_spectro_patch.status().",
            RuntimeWarning,
            stacklevel=depth,
        )


def _can_compare(input: torch.Tensor) -> bool:
    """Not for tensors without data, nor where reading a result back would break a CUDA graph being captured."""
    return type(input) is not FakeTensor and not _is_capturing(input)


def _is_capturing(input: torch.Tensor) -> bool:
    return input.is_cuda and torch.cuda.is_current_stream_capturing()


@torch.no_grad()
def difference(
    result: torch.Tensor, reference: torch.Tensor, weight: torch.Tensor | None = None, everywhere: bool = True
) -> str:
    """What is wrong with `result`, in words; empty if it is another correct rounding of `reference`.

    everywhere: `result` must be finite wherever `reference` is. Not so for input with NaN or infinities: which outputs
    of a frame they reach depends on the factors that an FFT multiplies by.
    """
    if _layout(result) != _layout(reference):
        return f"{_describe(result)} instead of {_describe(reference)}"
    got, want = _as_real(result), _as_real(reference)
    finite = torch.isfinite(want) if everywhere else torch.isfinite(want) & torch.isfinite(got)
    if result.is_complex():  # what an infinite real part leaves in the imaginary one depends on the order of sums
        finite = finite.all(-1, keepdim=True)
    zero = got.new_zeros(())
    got, want = torch.where(finite, got, zero), torch.where(finite, want, zero)
    if weight is not None:
        weight = weight.to(got.device)
        got, want = got * weight, want * weight
    scale = want.abs().amax().clamp(min=TINY)
    error, size = (got - want) / scale, want / scale
    worst = float(error.abs().amax())
    relative = float(error.square().mean().sqrt() / size.square().mean().sqrt().clamp(min=TINY))
    if float(scale) <= TINY:
        return "" if worst <= 1 else "not zero where the original is"
    if worst <= TOLERANCE and relative <= TOLERANCE:  # false for NaN as well
        return ""
    return f"largest error {worst:.1e} of the largest value, relative L2 error {relative:.1e}"


@torch.no_grad()
def envelope(window: torch.Tensor, arguments: tuple, frames: int) -> torch.Tensor:
    """The sum of squared windows that istft divides by, largest value 1: the weight at which samples are comparable.

    Where the envelope is small (torch lets 1e-11 pass) the division magnifies rounding in any correct istft.
    """
    n_fft, hop, win, center, _, samples = arguments
    left = (n_fft - win) // 2
    squares = torch.nn.functional.pad(window.detach().cpu().double().square(), (left, n_fft - win - left))
    ones = torch.ones(1, 1, frames, dtype=torch.float64, device="cpu")
    total = torch.nn.functional.conv_transpose1d(ones, squares.view(1, 1, -1), stride=hop)
    start = n_fft // 2 if center else 0
    part = total[0, 0, start : start + samples]
    return (part / part.amax()).float().nan_to_num()


def _as_real(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers, complex ones as pairs. Those of MPS on the CPU: some versions of torch lack complex operations there
    or have them wrong, and this is where they must be right."""
    tensor = tensor.cpu() if tensor.is_mps else tensor
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _layout(tensor: torch.Tensor) -> tuple:
    """Type, shape and the strides that matter."""
    strides = tuple(stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1)
    return tensor.dtype, tensor.shape, strides


def _describe(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)} with strides {tensor.stride()}"


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()
# Calls that are none of our business (Reason.DEVICE). They pay for no lock, so threads may lose one now and then.
untouched = {op: 0 for op in OPS}


if hasattr(os, "register_at_fork"):  # another thread may hold the lock at the moment of a fork
    os.register_at_fork(after_in_child=_renew_lock)
