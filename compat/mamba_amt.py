"""mamba_amt, piano transcription: its log-mel front end in one launch."""

from __future__ import annotations

from types import ModuleType

import torch

from ..front_ends import Scale
from . import torchaudio
from .tools.overrides import override
from .tools.project import Hook, Project
from .tools.structure import structure_of

_CLAMP = 1e-5


def _log_mel(mel, y) -> torch.Tensor | None:
    return torchaudio.mel(mel.mel_transform, y, Scale("clamp", _CLAMP), f"mamba_amt.{type(mel).__name__}")


def _lacks(module: ModuleType) -> str | None:
    cls = getattr(module, "MelSpectrogram", None)
    if "forward" not in vars(cls or object):
        return "it has no MelSpectrogram.forward"
    forward = structure_of(vars(cls)["forward"])
    other = sorted({"mel_transform", "torch", "clamp", "log"} ^ set(forward.names))
    if other:
        return f"MelSpectrogram.forward {'uses' if other[0] in forward.names else 'has no'} {other[0]}"
    return None if forward.constants == {_CLAMP} else f"MelSpectrogram.forward clamps at another value than {_CLAMP}"


PROJECT = Project(
    "mamba_amt",
    hooks=(Hook("mamba_amt.data.mel", "MelSpectrogram.forward", override(_log_mel), _lacks),),
    packages=("mamba_amt",),
)
