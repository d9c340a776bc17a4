"""Runs one fused front end in eager mode: compares its first call with the composed one, and survives its errors.

A call that went wrong is composed from then on, and so is every call of a size that the self-test found wrong (in
compiled code, which cannot look sizes up: every call). The options are those of enable() or accelerated() around the
call; where there are none, `verify="first"` and `on_error="fallback"`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable

import torch

from ..options import Options, logger
from . import ready
from .runner import Quarantined
from .torch_internals import STOPS

off: dict[tuple[int, torch.device, bool], Quarantined] = {}  # by n_fft, device and whether gradients are wanted
_used: set[Hashable] = set()
_verified: set[Hashable] = set()
_refused: dict[tuple, str] = {}
_lock = threading.Lock()
RELATIVE = 1e-3  # of linear features, L2; of logarithms the mean difference, in units of their factor


def run(
    key: tuple, options: Options | None, fused: Callable[[], torch.Tensor], composed: Callable[[], torch.Tensor],
    signal: torch.Tensor,
) -> torch.Tensor | None:  # fmt: skip
    """The fused result; None where the caller must compose it, because this key failed now or before."""
    if off and (key[0].n_fft, key[3], key[4]) in off:
        return None
    capturing = signal.is_cuda and torch.cuda.is_current_stream_capturing()
    if key in _refused or (capturing and key not in _used):  # compiling a kernel or copying a table breaks a capture
        return None
    try:
        result = fused()
    except (torch.OutOfMemoryError, *STOPS):
        raise
    except Exception as error:  # whatever broke in our kernels must not break the program
        if options is not None and options.on_error == "raise":
            raise
        logger.debug("fused front end", exc_info=error)
        _refuse(key, f"raised {type(error).__name__}: {error}")
        return None
    _used.add(key)
    verify = "first" if options is None else options.verify
    if verify == "off" or (verify == "first" and key in _verified) or capturing:
        return result
    with torch.no_grad():
        wrong, told = _difference(result.detach(), composed().detach(), key[0].scale)
    if wrong:
        _refuse(key, f"differs from torch's composition ({wrong})")
        return None
    if told:
        _verified.add(key)
    return result


def is_trusted(key: tuple, options: Options | None) -> bool:
    """Whether a call of this key needs no comparison any more."""
    verify = "first" if options is None else options.verify
    return key not in _refused and (verify == "off" or (verify == "first" and key in _verified))


def turn_off(n_fft: int, device: torch.device, gradients_only: bool, why: str) -> bool:
    """Front ends of this size are composed from now on; whether that is news. For the self-test, which warns."""
    entry = Quarantined("features", f"front ends n_fft={n_fft}", str(device), why)
    with _lock:
        keys = [(n_fft, device, wanted) for wanted in ((True,) if gradients_only else (False, True))]
        is_news = any(key not in off for key in keys)
        for key in keys:
            off.setdefault(key, entry)
    ready.clear()  # what was made ready asks nobody any more
    return is_news


def not_used() -> tuple[Quarantined, ...]:
    """What is composed though there are kernels, and why."""
    with _lock:
        refused = [Quarantined("features", _words(key), str(key[3]), why) for key, why in _refused.items()]
        return (*dict.fromkeys(off.values()), *refused)


def _difference(result: torch.Tensor, reference: torch.Tensor, scale) -> tuple[str, bool]:
    """(what is wrong, or nothing; whether there was anything to compare)."""
    if result.shape != reference.shape:
        return f"shape {tuple(result.shape)} instead of {tuple(reference.shape)}", True
    finite = result.isfinite() & reference.isfinite()
    if not bool(finite.any()):
        return "", False
    apart = torch.where(finite, result - reference, 0).abs()
    if scale.scale == "linear" and scale.deviation_eps is None:
        size = float(torch.where(finite, reference, 0).norm())
        error = float(apart.norm()) / size if size else float(apart.max())
    else:
        unit = abs(scale.factor * scale.after_factor) if scale.deviation_eps is None else 1.0
        error = float(apart.mean()) / unit
    return ("" if error <= RELATIVE else f"error {error:.1e}"), True


def _refuse(key: tuple, why: str) -> None:
    with _lock:
        first = _refused.setdefault(key, why) is why
    if first:
        warnings.warn(
            f"mps_spectro_patch: a fused front end ({_words(key)}) on {key[3]} {why}, torch {torch.__version__}. "
            "torch's composition is used from now on for these arguments. Please report this.",
            RuntimeWarning,
            stacklevel=2,
        )


def _words(key: tuple) -> str:
    call = key[0]
    return f"n_fft={call.n_fft}, hop_length={call.hop_length}, power={call.power}, {call.scale.scale}"
