"""MuQ (one of SongFormer's two models): its mel front end with decibels in one launch."""

from __future__ import annotations

from .tools import mel_stft
from .tools.project import Project

PROJECT = Project(
    "muq",
    hooks=(mel_stft.hook("muq.muq.modules.features", "__call__"),),  # it is no torch.nn.Module
    distribution="muq",
    packages=("muq",),
    tested=("0.1", "0.2"),
)
