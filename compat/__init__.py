"""One small module per downstream project, each with a `PROJECT` in it (tools/project.py says what that is).

TESTED: distributions that need no module of their own -> (the least version that was tested, the first that was not).
`doctor` tells what is here, of these and of the projects.
"""

from __future__ import annotations

import importlib

from ..options import PROJECTS as NAMES
from .tools.project import Alias, Hook, Look, Project

__all__ = ["NAMES", "TESTED", "Alias", "Hook", "Look", "Project", "load"]

TESTED: dict[str, tuple[str, str]] = {"torchaudio": ("2.11", "2.12")}


def load(name: str) -> Project:
    return importlib.import_module(f"{__name__}.{name}").PROJECT
