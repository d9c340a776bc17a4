"""MusicFM (one of SongFormer's two models): its mel front end with decibels in one launch."""

from __future__ import annotations

from types import ModuleType

from .tools import mel_stft
from .tools.project import Project


def _is_musicfm(module: ModuleType) -> bool:
    """Its README puts the folder itself on the path: then it is one of many modules of this name."""
    return hasattr(module, "MelSTFT")


PROJECT = Project(
    "musicfm",
    hooks=(
        mel_stft.hook("musicfm.modules.features", "forward"),
        mel_stft.hook("modules.features", "forward", _is_musicfm),
    ),
    packages=("musicfm",),
)
