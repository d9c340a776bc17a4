"""`mps-spectro-patch autoload on|off|status`: the .pth file by which MPS_SPECTRO_PATCH=1 reaches every program.

A wheel brings the file; an editable installation cannot, and some people do not want it. What the file does when an
interpreter starts is in startup.py. Imports no torch.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

from . import startup
from .errors import CommandError

NAME = "mps_spectro_patch_autoload.pth"
SOURCE = Path(__file__).with_name(NAME)


def run_autoload(action: str) -> int:
    """The command. Raises CommandError where the file cannot be written or removed."""
    {"on": on, "off": off, "status": lambda: None}[action]()
    print(status())
    return 0


def on() -> Path:
    """Installs the file where this interpreter will find it, and returns that place."""
    errors = []
    for folder in _folders():
        path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(SOURCE.read_bytes())
        except OSError as error:
            errors.append(f"{path}: {error.strerror}")
        else:
            return path
    raise CommandError("the file cannot be written: " + "; ".join(errors))


def off() -> list[Path]:
    """Removes the file wherever this interpreter would find it, and returns the places."""
    removed = installed()
    for path in removed:
        try:
            path.unlink()
        except OSError as error:
            raise CommandError(f"cannot remove {path}: {error.strerror}") from None
    return removed


def installed() -> list[Path]:
    return [folder / NAME for folder in _folders() if (folder / NAME).is_file()]


def status() -> str:
    is_off = "autoload is off: MPS_SPECTRO_PATCH=1 is only read when a program imports mps_spectro_patch"
    lines = [f"autoload is on: {path}" for path in installed()] or [is_off]
    value = os.environ.get(startup.VARIABLE)
    said = "not set" if value is None else f"{value!r}, which enables" if startup.is_wanted() else f"{value!r}"
    lines.append(f"MPS_SPECTRO_PATCH is {said}")
    return "\n".join(lines)


def _folders() -> list[Path]:
    """Where .pth files of this interpreter are read, the environment's own folder first."""
    folders = [sysconfig.get_path("purelib")]
    if site.ENABLE_USER_SITE and sys.prefix == sys.base_prefix:
        folders.append(site.getusersitepackages())
    return [Path(folder) for folder in dict.fromkeys(folders)]
