"""status(): what is patched here and now, as data that prints well. Changes no patch."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .. import active
from ..execution import counters, quarantine, trouble
from ..options import OPS, Options
from ..patching import hooks, install, layers
from ..reasons import Reason
from ..version import __version__
from .versions import OLDEST_TORCH, is_too_old


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
    missing_devices: tuple[str, ...] = ()
    functional: tuple[str, ...] = ()
    elsewhere: int = 0
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"mps_spectro_patch {self.versions['mps_spectro_patch']}: {'on' if self.enabled else 'off'}"]
        if self.options:
            lines += [f"  {self.options}"]
        lines += [f"  {device}: there is no such device here" for device in self.missing_devices]
        if is_too_old(self.versions["torch"]):
            lines += [f"  torch {self.versions['torch']}: {OLDEST_TORCH} or newer is needed"]
        lines += [f"  {'torch.' if what in OPS else ''}{what}: {state}" for what, state in self.patched.items()]
        lines += [f"  {name}: {state}" for name, state in self.projects.items()]
        lines += [f"  registered: {what}" for what in self.registered]
        lines += [f"  missed: {name} was bound early and is torch's own" for name in self.early_references]
        lines += [f"  missed: {what} stays torch's own" for what in self.functional]
        if (self.early_references or self.functional) and (self.options is None or self.options.reach == "attribute"):
            lines += ['  reach="references" or "dispatcher" reaches what is missed']
        if self.elsewhere:
            lines += [f"  {self.elsewhere} calls came with tensors on other devices: report() has their lines"]
        lines += [f"  not used any more: {bad.plan} on {bad.device}: {bad.why}" for bad in self.quarantined]
        lines += [f"  {problem}" for problem in self.problems]
        lines += ["  " + ", ".join(f"{name} {version}" for name, version in self.versions.items())]
        return "\n".join(lines)


def status() -> Status:
    """What is patched here and now, with which options and versions.

    Looks for names that were bound before enable(), and for calls of torch.functional, in all modules, and for partials
    among all objects. This takes up to some tenths of a second.

    Returns:
        Status: `enabled`, `options`, `patched`, `projects`, `registered`, `early_references` and `functional` (callers
        that are missed), `elsewhere` (how many calls came with tensors on other devices so far, see report()),
        `quarantined` (kernels that are not used any more, and why), `versions` and `problems` (what could not be found
        out, and why). Prints well.

    Example:
        >>> msp.status().enabled
        False
        >>> with msp.accelerated(devices=["simulator"]):
        ...     print(msp.status().patched["stft"])
        patched
    """
    versions = {"mps_spectro_patch": __version__, "torch": torch.__version__, "python": platform.python_version()}
    if "wrapt" in sys.modules:
        versions["wrapt"] = sys.modules["wrapt"].__version__
    found: dict[str, Any] = {}
    problems = []
    for name, look in (
        ("options", active.options_here),
        ("patched", lambda: {**{op: _state(op) for op in OPS}, **hooks.states("torchaudio")}),
        ("projects", install.project_states),
        ("registered", lambda: tuple(install.registered())),
        ("early_references", lambda: tuple(install.early_references(everywhere=True))),
        ("quarantined", quarantine.entries),
        ("missing_devices", lambda: tuple(install.missing_devices(found["options"])) if found["options"] else ()),
        ("functional", lambda: tuple(install.users_of_functional())),
        (
            "elsewhere",
            lambda: sum(counters.counts().get((op, Reason.DEVICE), 0) for op in OPS) if found["options"] else 0,
        ),
    ):
        try:
            found[name] = look()
        except Exception as error:  # in modules of all kinds; the rest is told
            found[name] = _UNKNOWN.get(name, ())
            problems.append(f"{name} could not be found out: {trouble.trouble_of(error).what}")
    return Status(enabled=found["options"] is not None, versions=versions, problems=tuple(problems), **found)


_UNKNOWN: dict[str, Any] = {"options": None, "patched": {}, "projects": {}, "elsewhere": 0}


def _state(op: str) -> str:
    here = [layer for layer in layers.layers() if layer.op == op and layer.position() != "absent"]
    if not here:
        return (
            f"not patched: replaced by {_name(getattr(torch, op))} after enable()"
            if install.is_held(op)
            else "not patched"
        )
    layer = next((layer for layer in here if not layer.retired), here[0])
    idle = "" if install.is_held(op) and not layer.retired else ", inert"
    if layer.position() == "installed":
        return f"patched{idle}"
    return f"patched{idle}, below {_name(getattr(torch, op))}"


def _name(function: Callable) -> str:
    where = getattr(function, "__module__", "")
    name = f"{where}.{getattr(function, '__qualname__', repr(function))}"
    code = getattr(function, "__code__", None)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code and not where.startswith("torch.") else name
