"""One small module per downstream project, each with a `PROJECT` in it (project.py says what that is).

TESTED: distributions that need no module of their own -> (the least version that was tested, the first that was not).
`doctor` tells what is here, of these and of the projects.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .project import Project

# The modules of this folder that hold a PROJECT; a test holds them against the files.
NAMES: tuple[str, ...] = (
    "audio_separator",
    "demucs",
    "linkseg",
    "mamba_amt",
    "mps_spectro",
    "muq",
    "musicfm",
    "rmvpe",
    "torchfcpe",
)
TESTED: dict[str, tuple[str, str]] = {"torchaudio": ("2.11", "2.12")}


def load(name: str) -> Project:
    return importlib.import_module(f"{__name__}.{name}").PROJECT
