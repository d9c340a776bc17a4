"""Every call of a program made both ways, plain and accelerated: how long each takes, how much they differ.

For one of the processes of `run --compare`, which is slower for it. The program gets the accelerated result.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import torch

from .. import active
from ..diagnostics import stats
from ..options import OPS, Options

_PLAIN = Options(devices=(), compat=False)
_tried: Counter[str] = Counter()
_seen: set[tuple] = set()
_told: dict[str, dict[str, float]] = defaultdict(
    lambda: {"calls": 0, "plain": 0.0, "accelerated": 0.0, "difference": 0.0}
)


def start() -> None:
    for op in OPS:
        setattr(torch, op, _both_ways(op, getattr(torch, op)))


def write(file: str) -> None:
    """What was found, for the process that compares."""
    found: dict[str, dict[str, Any]] = {}
    for op in OPS:
        fallback = {str(reason): count for reason, count in stats()[op].fallback.items()}
        fallback["device"] = fallback.get("device", 0) - _tried[op]  # the plain ones
        found[op] = {**_told[op], "fast": stats()[op].fast, "fallback": {name: n for name, n in fallback.items() if n}}
    with open(file, "w", encoding="utf-8") as out:
        json.dump(found, out)


def _both_ways(op: str, function: Callable) -> Callable:
    process = os.getpid()

    @functools.wraps(function)
    def both(*args: Any, **kwargs: Any) -> torch.Tensor:
        if torch.compiler.is_compiling() or os.getpid() != process:  # neither compiled code nor a fork is compared
            return function(*args, **kwargs)
        kind = op, *map(_kind, args), *((name, _kind(value)) for name, value in sorted(kwargs.items()))
        if kind not in _seen:  # the first call of a kind compiles, and is verified
            _seen.add(kind)
            return function(*args, **kwargs)
        result, accelerated = _timed(function, args, kwargs)
        _tried[op] += 1
        active.enter(_PLAIN)
        try:
            expected, plain = _timed(function, args, kwargs)
            difference = _difference(result, expected)
        except Exception:  # no memory for a second result, say
            return result
        finally:
            active.leave(_PLAIN)
        told = _told[op]
        told["calls"] += 1
        told["accelerated"] += accelerated
        told["plain"] += plain
        told["difference"] = max(told["difference"], difference)
        return result

    return both


def _timed(function: Callable, args: tuple, kwargs: dict) -> tuple[torch.Tensor, float]:
    _wait()
    start = time.perf_counter()
    result = function(*args, **kwargs)
    _wait()
    return result, time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    if torch.backends.mps.is_available():
        torch.mps.synchronize()


def _kind(value: Any) -> object:
    return (tuple(value.shape), value.dtype, str(value.device)) if isinstance(value, torch.Tensor) else str(value)


@torch.no_grad()
def _difference(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative to the size of the result."""
    result, expected = (torch.view_as_real(t) if t.is_complex() else t for t in (result, expected))
    size = float(expected.norm())
    return float((result - expected).norm()) / size if size else 0.0
