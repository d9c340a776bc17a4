"""mamba_amt, piano transcription: its log-mel front end in one launch."""

from __future__ import annotations

from types import ModuleType

import torch

from ..front_ends import Scale
from . import torchaudio
from .tools.overrides import override
from .tools.project import Hook, Project
from .tools.structure import lacks_names, structure_in

_FORWARD = "MelSpectrogram.forward"
_CLAMP = 1e-5
_lacks_names = lacks_names(_FORWARD, ("mel_transform", "torch", "clamp", "log"))


def _log_mel(mel, y) -> torch.Tensor | None:
    return torchaudio.mel(mel.mel_transform, y, Scale("clamp", _CLAMP), f"mamba_amt.{type(mel).__name__}")


def _lacks(module: ModuleType) -> str | None:
    if other := _lacks_names(module):
        return other
    is_known = structure_in(module, _FORWARD).constants == {_CLAMP}
    return None if is_known else f"{_FORWARD} clamps at another value than {_CLAMP}"


PROJECT = Project(
    "mamba_amt",
    hooks=(Hook("mamba_amt.data.mel", _FORWARD, override(_log_mel), _lacks),),
    packages=("mamba_amt",),
)
