"""Remembers calls by the line they came from: a sample of them always, every one with its time on request.

Only looks. What is always on costs a counter; a sampled call costs some microseconds.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch

from ..options import OPS, logger
from ..reasons import Reason
from ..routing import plain_size

everything = False  # every call is remembered, also those on devices that are not accelerated
FIRST, EVERY = 50, 64  # of each op the first calls, then one in so many
SITES_MAX, EVENTS_MAX, CALLERS_MAX = 1000, 200_000, 10_000

_OURS = str(Path(__file__).parents[1]) + os.sep
_EXAMPLES = os.path.join(_OURS, "examples", "")
# In a checkout, compat lies beside the package.
_BETWEEN = _OURS, str(Path(__file__).parents[2] / "compat") + os.sep, str(Path(torch.__file__).parent) + os.sep
_SHOWN = (int, str, bool, type(None))  # arguments that are shown as they are


class Site(NamedTuple):
    """Calls that are alike: from one line, with arguments of one kind, to one end."""

    file: str
    line: int
    function: str
    op: str  # or the name of a front end
    arguments: tuple  # of stft or istft, or what describes a front end; tensors as (shape, dtype)
    device: str
    outcome: str  # "fast", the name of a reason, or "raised"


@dataclass
class Tally:
    """count: calls, of which `seen` were looked at and the others are estimated. seconds: of those looked at;
    timed: of those that were looked at because every call was."""

    count: int = 0
    seen: int = 0
    seconds: float = 0.0
    timed: float = 0.0


class _Here(threading.local):
    outcome: str | None = None  # "fast", or a reason


observer: Callable[[FrameType], None] | None = None  # is shown every function that calls torch, once

_here = _Here()
_introduced: dict[int, CodeType] = {}  # by id: to hash code is to read all of it
_lock = threading.Lock()
_met: dict[str, int] = {}  # calls by function
_sites: dict[tuple, Tally] = {}  # by what a Site is made of
_left_out = 0
_events: list[dict[str, Any]] | None = None
_lost = 0


def start(trace: bool = False) -> None:
    """From now on every call and its time; with trace=True each as an event of its own."""
    global everything, _events, _lost
    with _lock:
        everything = True
        if trace:
            _events, _lost = [], 0


def stop() -> None:
    """Back to a sample. What was remembered stays until reset()."""
    global everything
    everything = False


def reset() -> None:
    global _events, _left_out, _lost
    with _lock:
        _sites.clear()
        _met.clear()
        _left_out = _lost = 0
        _events = None if _events is None else []


def is_due(op: str) -> bool:
    """Whether to look at this call. Threads may lose one in the count: no lock is paid for that."""
    if everything:
        return True
    met = _met[op] = _met.get(op, 0) + 1
    return met <= FIRST or met % EVERY == 0


def introduce(frame: FrameType) -> None:
    """Shows the observer the frame of a call, if it runs code that it has not seen."""
    code = frame.f_code
    if id(code) in _introduced or observer is None:
        return
    if len(_introduced) < CALLERS_MAX:
        _introduced[id(code)] = code
        observer(frame)


def tell(reason: str | None) -> None:
    """How the call that this thread is in goes: None for fast."""
    _here.outcome = "fast" if reason is None else reason


def call(op: str, arguments: tuple, act: Callable[[], torch.Tensor]) -> torch.Tensor:
    """act(), remembered."""
    return _looked_at(op, arguments, act, None, 1 if everything or _met.get(op, 0) <= FIRST else EVERY)


def call_elsewhere(op: str, count: int, arguments: tuple, act: Callable[[], torch.Tensor]) -> torch.Tensor:
    """act(), remembered: the count-th call on a device that is not accelerated."""
    return _looked_at(op, arguments, act, Reason.DEVICE, 1 if count <= FIRST else EVERY)


def _looked_at(
    op: str, arguments: tuple, act: Callable[[], torch.Tensor], outcome: str | None, weight: int
) -> torch.Tensor:
    """act(), remembered as so many calls. outcome: until act() tells another one."""
    outer, _here.outcome = _here.outcome, outcome
    start = time.perf_counter_ns()
    raised = True
    try:
        result = act()
        raised = False
        return result
    finally:
        nanoseconds = time.perf_counter_ns() - start
        found, _here.outcome = _here.outcome, outer
        try:
            outcome = str(found) if found and not raised else "raised"
            _remember(op, arguments, outcome, start, nanoseconds, weight)
        except Exception as error:  # nobody's call may fail because somebody looks
            logger.warning("a call of %s is missing in the report: %r", op, error)


def sites() -> dict[Site, Tally]:
    with _lock:
        return {Site(*key): replace(one) for key, one in _sites.items()}


def left_out() -> int:
    """Calls from lines beyond the first thousand kinds."""
    return _left_out


def trace() -> dict[str, Any]:
    """The events in Chrome's trace format. Times are those of the calling thread: a GPU may still be at work after."""
    with _lock:
        return {"traceEvents": list(_events or ()), "displayTimeUnit": "ms", "otherData": {"lost": _lost}}


def is_between(file: str) -> bool:
    """Whether code of this file is ours or torch's, between the program and what it calls."""
    return file.startswith(_BETWEEN) and not file.startswith(_EXAMPLES)


def caller() -> tuple[FrameType, int]:
    """(the frame that called torch, its depth as warnings.warn counts it for whoever called this function)."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None:
        if not is_between(frame.f_code.co_filename):
            break
        frame, depth = frame.f_back, depth + 1
    return frame, depth


def _remember(op: str, arguments: tuple, outcome: str, start: int, nanoseconds: int, weight: int) -> None:
    global _left_out, _lost
    frame, _ = caller()
    code = frame.f_code
    summary = []
    with torch._C.DisableTorchFunction():  # subclasses and modes must not see us look
        device = str(arguments[0].device) if isinstance(arguments[0], torch.Tensor) else ""
        for argument in arguments:
            summary.append(argument if type(argument) in _SHOWN else _summary(argument))
    name = getattr(code, "co_qualname", code.co_name)
    site = code.co_filename, frame.f_lineno, name, op, tuple(summary), device, outcome
    with _lock:
        if site not in _sites and len(_sites) >= SITES_MAX:
            _left_out += weight
        else:
            tally = _sites.setdefault(site, Tally())
            tally.count += weight
            tally.seen += 1
            tally.seconds += nanoseconds / 1e9
            tally.timed += nanoseconds / 1e9 if everything else 0
        if _events is not None and everything:
            if len(_events) >= EVENTS_MAX:
                _lost += 1
                return
            _events.append({
                "name": f"torch.{op}" if op in OPS else op, "cat": outcome, "ph": "X", "ts": start / 1e3,
                "dur": nanoseconds / 1e3, "pid": os.getpid(), "tid": threading.get_native_id(),
                "args": {"outcome": outcome, "device": device, "from": f"{code.co_filename}:{frame.f_lineno}"},
            })  # fmt: skip


def _summary(argument: Any) -> Any:
    """Something small and hashable that stays true when the argument changes or goes. Symbolic sizes are neither."""
    if isinstance(argument, torch.Tensor):
        shape = tuple(argument.shape)
        if set(map(type, shape)) - {int}:
            shape = tuple(map(str, shape))
        return shape, str(argument.dtype).removeprefix("torch.")
    argument = plain_size(argument)  # numpy's integers
    return argument if isinstance(argument, int | str | bool) else type(argument).__name__


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # another thread may hold the lock at the moment of a fork
    os.register_at_fork(after_in_child=_renew_lock)
