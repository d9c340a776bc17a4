"""One small module per downstream project, each with a `PROJECT` in it (tools/project.py says what that is)."""

from __future__ import annotations

import importlib

from ..options import PROJECTS
from .tools.project import Alias, ClassHook, FunctionHook, Hook, Project

__all__ = ["NAMES", "Alias", "ClassHook", "FunctionHook", "Hook", "Project", "load"]

NAMES = (*PROJECTS, "torchaudio")  # of the modules; the option `compat` names the first ones, torchaudio has its own


def load(name: str) -> Project:
    return importlib.import_module(f"{__name__}.{name}").PROJECT
