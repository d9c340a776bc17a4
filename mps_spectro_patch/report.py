"""What happened and what would happen: stats(), status(), explain().

Data that prints well. Nothing here changes a patch or runs a kernel.
"""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from . import guard, patching, routing
from .options import OPS, Options
from .routing import Reason, Route


@dataclass(frozen=True)
class OpStats:
    """Eager calls of one op: how many went the fast way, and how many to the original for which reason."""

    fast: int = 0
    fallback: dict[Reason, int] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return self.fast + sum(self.fallback.values())

    def __str__(self) -> str:
        lines = [f"{self.calls} calls", f"  {self.fast:>8}  fast"]
        lines += [f"  {count:>8}  original, {reason}: {reason.words}" for reason, count in self.fallback.items()]
        return "\n".join(lines)


class Stats(dict):
    """Op name -> OpStats."""

    def __str__(self) -> str:
        return "\n".join(f"torch.{op}: {counts}" for op, counts in self.items())


@dataclass(frozen=True)
class Status:
    """What is patched, with which options and versions, and what is not used any more."""

    enabled: bool
    options: Options | None
    patched: dict[str, str]
    quarantined: tuple[guard.Quarantined, ...]
    versions: dict[str, str]

    def __str__(self) -> str:
        lines = [f"mps_spectro_patch {self.versions['mps_spectro_patch']}: {'on' if self.enabled else 'off'}"]
        if self.options:
            lines += [f"  {self.options}"]
        lines += [f"  torch.{op}: {state}" for op, state in self.patched.items()]
        lines += [f"  not used any more: {bad.plan} on {bad.device}: {bad.why}" for bad in self.quarantined]
        lines += ["  " + ", ".join(f"{name} {version}" for name, version in self.versions.items())]
        return "\n".join(lines)


def stats() -> Stats:
    """Counts of eager calls since the start or reset_stats(). Calls from compiled code are not counted."""
    counts = guard.counts()
    return Stats(
        (
            op,
            OpStats(
                counts.get((op, None), 0),
                {reason: count for (name, reason), count in counts.items() if name == op and reason is not None},
            ),
        )
        for op in OPS
    )


def reset_stats() -> None:
    guard.counts(reset=True)


def status() -> Status:
    from . import __version__

    versions = {"mps_spectro_patch": __version__, "torch": torch.__version__, "python": platform.python_version()}
    if "wrapt" in sys.modules:
        versions["wrapt"] = sys.modules["wrapt"].__version__
    return Status(
        enabled=patching.is_enabled(),
        options=patching.options_here(),
        patched={op: _state(op) for op in OPS},
        quarantined=tuple(guard.quarantined.values()),
        versions=versions,
    )


def explain(function: Callable, *args: Any, **kwargs: Any) -> Route:
    """How this call of torch.stft or torch.istft (or of the Tensor methods) would go, with the options that hold here.

    Where nothing is enabled, with the options that enable() would take; the route's note says so. Runs nothing.
    """
    op, function, args = _which(function, args)
    options = patching.options_here()
    note = ""
    if options is None:
        options, note = Options.resolve(), "not enabled now; this is what enable() would do"
    try:
        if op == "istft":
            arguments = patching.istft_arguments(*args, **kwargs)
        else:
            arguments = tuple(_defaults(inspect.signature(function).bind(*args, **kwargs)).values())
    except TypeError:
        return Route(op, Reason.ARGUMENT, note=note)
    decision = routing.decide(op, options.flags, arguments)
    route = routing.dressed(op, decision, arguments[0])
    reason = route.reason
    if op not in options.ops:
        reason = Reason.OP
    elif route.fast and (decision.plan, arguments[0].device) in guard.quarantined:
        reason = Reason.QUARANTINED
    return Route(op, reason, route.arguments if reason is None else None, route.device, route.plan, note)


def _defaults(bound: inspect.BoundArguments) -> dict[str, Any]:
    bound.apply_defaults()
    return bound.arguments


def _which(function: Callable, args: tuple) -> tuple[str, Callable, tuple]:
    """(op, torch's own function, the arguments with the tensor first) for everything that means torch's two."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, torch.Tensor):  # x.stft
        args, function = (owner, *args), function.__func__
    for op, torchs in (("stft", torch.functional.stft), ("istft", torch._VF.istft)):
        names = [torchs, getattr(torch, op), getattr(torch.Tensor, op)]
        names += [layer.function for layer in patching.layers() if layer.op == op]
        if any(function is name for name in names):
            return op, torchs, args
    raise ValueError(f"explain() knows torch.stft, torch.istft and the Tensor methods of those names, not {function!r}")


def _state(op: str) -> str:
    layer = next((layer for layer in patching.layers() if layer.op == op and layer.position() != "absent"), None)
    if layer is None:
        return "not patched"
    idle = "" if patching.is_held(op) else ", inert"
    if layer.position() == "installed":
        return f"patched{idle}"
    top = getattr(torch, op)
    return f"patched{idle}, below {top.__module__}.{getattr(top, '__qualname__', top)}"
