"""MuQ (one of SongFormer's two models): its mel front end with decibels in one launch."""

from __future__ import annotations

from types import ModuleType

from .tools import mel_stft
from .tools.overrides import override
from .tools.project import Hook, Project


def _lacks(module: ModuleType) -> str | None:
    return mel_stft.lacks(module, "__call__")  # it is no torch.nn.Module


PROJECT = Project(
    "muq",
    hooks=(Hook("muq.muq.modules.features", "MelSTFT.__call__", override(mel_stft.features), _lacks),),
    distribution="muq",
    packages=("muq",),
    tested=("0.1", "0.2"),
)
