"""MusicFM (one of SongFormer's two models): its mel front end with decibels in one launch."""

from __future__ import annotations

from types import ModuleType

from .tools import mel_stft
from .tools.overrides import override
from .tools.project import Hook, Project


def _lacks(module: ModuleType) -> str | None:
    return mel_stft.lacks(module, "forward")


def _is_musicfm(module: ModuleType) -> bool:
    """Its README puts the folder itself on the path: then it is one of many modules of this name."""
    return hasattr(module, "MelSTFT")


_FORWARD = override(mel_stft.features)

PROJECT = Project(
    "musicfm",
    hooks=(
        Hook("musicfm.modules.features", "MelSTFT.forward", _FORWARD, _lacks),
        Hook("modules.features", "MelSTFT.forward", _FORWARD, _lacks, _is_musicfm),
    ),
    packages=("musicfm",),
)
