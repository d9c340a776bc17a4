"""MelSTFT, the front end of MusicFM and MuQ: torchaudio's MelSpectrogram, and decibels of it."""

from __future__ import annotations

from types import ModuleType

import torch

from ...front_ends import Scale
from .. import torchaudio
from .structure import structure_of


def features(front, waveform) -> torch.Tensor | None:
    """[..., samples] to [..., mels, frames], in one launch."""
    name = f"{type(front).__module__.partition('.')[0]}.{type(front).__name__}"
    if front.is_db:
        return torchaudio.mel_decibels(front.mel_stft, front.amplitude_to_db, waveform, name)
    return torchaudio.mel(front.mel_stft, waveform, Scale(), name)


def lacks(module: ModuleType, method: str) -> str | None:
    """What MelSTFT of another version lacks, or has besides."""
    cls = getattr(module, "MelSTFT", None)
    if method not in vars(cls or object):
        return f"it has no MelSTFT.{method}"
    names = structure_of(vars(cls)[method]).names
    missing = sorted({"is_db", "mel_stft", "amplitude_to_db"} ^ set(names))
    if missing:
        return f"MelSTFT.{method} {'uses' if missing[0] in names else 'has no'} {missing[0]}"
    return None
