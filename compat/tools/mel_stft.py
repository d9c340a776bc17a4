"""MelSTFT, the front end of MusicFM and MuQ: torchaudio's MelSpectrogram, and decibels of it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from ...front_ends import Scale
from .. import torchaudio
from .overrides import override
from .project import Hook
from .structure import lacks_names


def hook(module: str, method: str, applies_to: Callable[[ModuleType], bool] | None = None) -> Hook:
    attribute = f"MelSTFT.{method}"
    lacks = lacks_names(attribute, ("is_db", "mel_stft", "amplitude_to_db"))
    return Hook(module, attribute, _OVERRIDE, lacks, applies_to)


def _features(front, waveform) -> torch.Tensor | None:
    """[..., samples] to [..., mels, frames], in one launch."""
    name = f"{type(front).__module__.partition('.')[0]}.{type(front).__name__}"
    if front.is_db:
        return torchaudio.mel_decibels(front.mel_stft, front.amplitude_to_db, waveform, name)
    return torchaudio.mel(front.mel_stft, waveform, Scale(), name)


_OVERRIDE = override(_features)
