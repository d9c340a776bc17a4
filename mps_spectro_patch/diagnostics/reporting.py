"""What happened and what is patched: stats(), report(), status().

Data that prints well. Nothing here changes a patch or runs a kernel.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..active import options_here
from ..execution import call_sites, counters, quarantine
from ..options import OPS, Options
from ..patching import hooks, install, layers
from ..reasons import Reason

if TYPE_CHECKING:
    from .call_table import Table


@dataclass(frozen=True)
class OpStats:
    """Eager calls of one function: how many went the fast way, and how many to the original for which reason.

    errors: exceptions of the fast path that were caught; verified and differed: comparisons with the original, by what
    came of them; seconds: time of the calls by outcome ("fast" or a reason), while watch_calls() was on.
    """

    fast: int = 0
    fallback: dict[Reason, int] = field(default_factory=dict)
    verified: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return self.fast + sum(self.fallback.values())

    @property
    def errors(self) -> int:
        return self.fallback.get(Reason.ERROR, 0)

    @property
    def differed(self) -> int:
        return self.fallback.get(Reason.VERIFICATION, 0)

    def __str__(self) -> str:
        lines = [f"{self.calls} calls"]
        lines += [f"  {self.fast:>8}  fast{self._took('fast')}"]
        lines += [
            f"  {count:>8}  original, {reason}: {reason.words}{self._took(reason)}"
            for reason, count in self.fallback.items()
        ]
        if self.verified or self.differed or self.errors:
            lines += [f"  compared with the original: {self.verified} right, {self.differed} wrong; "
                      f"{self.errors} errors caught"]  # fmt: skip
        return "\n".join(lines)

    def _took(self, outcome: str) -> str:
        return f", {self.seconds[str(outcome)]:.4f} s" if str(outcome) in self.seconds else ""


class Stats(dict):
    """Name of a function -> OpStats: "stft" and "istft", and the names of front ends that were called."""

    def __str__(self) -> str:
        return "\n".join(f"{counters.title(name)}: {counts}" for name, counts in self.items())


@dataclass(frozen=True)
class Status:
    """What is patched, with which options and versions, what is missed, and what is not used any more."""

    enabled: bool
    options: Options | None
    patched: dict[str, str]
    projects: dict[str, str]
    registered: tuple[str, ...]
    early_references: tuple[str, ...]
    quarantined: tuple[quarantine.Quarantined, ...]
    versions: dict[str, str]

    def __str__(self) -> str:
        lines = [f"mps_spectro_patch {self.versions['mps_spectro_patch']}: {'on' if self.enabled else 'off'}"]
        if self.options:
            lines += [f"  {self.options}"]
        lines += [f"  {_named(what)}: {state}" for what, state in self.patched.items()]
        lines += [f"  {name}: {state}" for name, state in self.projects.items()]
        lines += [f"  registered: {what}" for what in self.registered]
        lines += [f"  missed: {name} was bound early and is torch's own" for name in self.early_references]
        lines += [f"  not used any more: {bad.plan} on {bad.device}: {bad.why}" for bad in self.quarantined]
        lines += ["  " + ", ".join(f"{name} {version}" for name, version in self.versions.items())]
        return "\n".join(lines)


def stats() -> Stats:
    """Counts of eager calls since the start or reset_stats(), of stft, istft and every front end that was called. Calls
    from compiled code are not counted."""
    counts, agreed = counters.counts(), counters.agreed()
    seconds: dict[str, dict[str, float]] = {}
    for site, tally in call_sites.sites().items():
        if tally.timed:
            of_op = seconds.setdefault(site.op, {})
            of_op[site.outcome] = of_op.get(site.outcome, 0.0) + tally.timed
    return Stats(
        (
            name,
            OpStats(
                counts.get((name, None), 0),
                {reason: count for (one, reason), count in counts.items() if one == name and reason is not None},
                agreed.get(name, 0),
                seconds.get(name, {}),
            ),
        )
        for name in dict.fromkeys((*OPS, *sorted(name for name, _ in counts)))
    )


def reset_stats() -> None:
    """Forgets counts, call sites and times. What is not used any more (see status()) stays so."""
    counters.reset()
    call_sites.reset()


def watch_calls(on: bool = True, trace: bool = False) -> None:
    """Makes report() exact: from now on every call is looked at and timed, also on devices that are not accelerated.

    That costs some microseconds per call. trace=True also keeps each call as an event, for write_trace(). Times are
    the calling thread's: work that a GPU does after the call returned is not in them. on=False: back to a sample.
    """
    if on:
        call_sites.start(trace)
    else:
        call_sites.stop()


def report() -> Table:
    """Calls by the line they came from, what arguments they had, and which way they went, the most frequent first.

    Unless watch_calls() was on, from a sample of the calls on accelerated devices; counts with ~ are estimates then.
    """
    from .call_table import Row, Table

    rows = [
        Row(f"{site.file}:{site.line}", site.function, counters.title(site.op), _words(site), site.device, site.outcome,
            tally.count, tally.count != tally.seen, tally.seconds)
        for site, tally in call_sites.sites().items()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row.calls, row.place, row.outcome))
    return Table(tuple(rows), call_sites.left_out())


def write_trace(path: str | Path) -> None:
    """Writes the calls since watch_calls(trace=True) for chrome://tracing or Perfetto. Raises OSError."""
    import json

    Path(path).write_text(json.dumps(call_sites.trace()), encoding="utf-8")


def status() -> Status:
    """What is patched here and now. Looks through all modules for early references, which takes some milliseconds."""
    import platform

    from ..version import __version__

    versions = {"mps_spectro_patch": __version__, "torch": torch.__version__, "python": platform.python_version()}
    if "wrapt" in sys.modules:
        versions["wrapt"] = sys.modules["wrapt"].__version__
    return Status(
        enabled=install.is_enabled(),
        options=options_here(),
        patched={**{op: _state(op) for op in OPS}, **hooks.state("torchaudio")},
        projects=install.project_states(),
        registered=tuple(install.registered()),
        early_references=tuple(install.early_references()),
        quarantined=quarantine.entries(),
        versions=versions,
    )


def _named(what: str) -> str:
    return f"torch.{what}" if what in OPS else what


def _state(op: str) -> str:
    here = [layer for layer in layers.layers() if layer.op == op and layer.position() != "absent"]
    if not here:
        return "not patched"
    layer = next((layer for layer in here if not layer.retired), here[0])
    idle = "" if install.is_held(op) and not layer.retired else ", inert"
    if layer.position() == "installed":
        return f"patched{idle}"
    top = getattr(torch, op)
    return f"patched{idle}, below {getattr(top, '__module__', '')}.{getattr(top, '__qualname__', repr(top))}"


def _words(site: call_sites.Site) -> str:
    names = _PARAMETERS.get(site.op, _OF_FRONT_ENDS)
    return ", ".join(
        f"{name}={_value(value)}" if name else _value(value)
        for name, value in zip(names, site.arguments, strict=True)
        if value is not None and _DEFAULTS.get(name) != value
    )


def _value(value: object) -> str:
    if isinstance(value, tuple):
        shape, dtype = value
        return f"{'x'.join(map(str, shape)) or 'scalar'} {dtype}"
    return str(value)


_PARAMETERS = {
    "stft": ("", "n_fft", "hop", "win", "window", "center", "pad_mode", "normalized", "onesided", "return_complex",
             "align_to_window"),
    "istft": ("", "n_fft", "hop", "win", "window", "center", "normalized", "onesided", "length", "return_complex"),
}  # fmt: skip
_OF_FRONT_ENDS = ("", "n_fft", "hop", "win", "filterbank")
_DEFAULTS = {"center": True, "pad_mode": "reflect", "normalized": False, "return_complex": False}
