"""status(): what is patched here and now, as data that prints well. Changes no patch."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

import torch

from ..active import options_here
from ..execution import quarantine
from ..options import OPS, Options
from ..patching import hooks, install, layers
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
        lines += [f"  not used any more: {bad.plan} on {bad.device}: {bad.why}" for bad in self.quarantined]
        lines += ["  " + ", ".join(f"{name} {version}" for name, version in self.versions.items())]
        return "\n".join(lines)


def status() -> Status:
    """What is patched here and now, with which options and versions.

    Looks through all modules for names that were bound before enable(), which takes some milliseconds.

    Returns:
        Status: `enabled`, `options`, `patched`, `projects`, `registered`, `early_references` (callers that are missed),
        `quarantined` (kernels that are not used any more, and why) and `versions`. Prints well.

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
    options = options_here()
    return Status(
        enabled=install.is_enabled(),
        options=options,
        patched={**{op: _state(op) for op in OPS}, **hooks.states("torchaudio")},
        projects=install.project_states(),
        registered=tuple(install.registered()),
        early_references=tuple(install.early_references()),
        quarantined=quarantine.entries(),
        versions=versions,
        missing_devices=tuple(install.missing_devices(options)) if options else (),
    )


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
