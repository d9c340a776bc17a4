"""Whisper's log_mel_spectrogram, also of the projects that have a copy of it, in two launches. The second one is for
the floor under the largest value of all.

Its own code runs (tools/deferred.py). Files and arrays are loaded, and moved to the device, by its own functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch.compiler import is_compiling

from .tools import deferrable, deferred
from .tools.overrides import original_of, override
from .tools.project import FunctionHook, Project
from .tools.structure import structure_of

_PARAMETERS = ("audio", "n_mels", "padding", "device")
_NAMES = {"is_tensor", "load_audio", "from_numpy", "mel_filters", "stft", "abs", "clamp", "log10", "maximum", "max"}


def _make(original: FunctionType, active_options: Callable) -> Callable:
    if _recognises(original) is not True:
        return original  # its module may have been loaded again

    def signal_of(audio: Any, n_mels: Any = None, padding: Any = None, device: Any = None) -> torch.Tensor | None:
        """The waveform, or something on its device."""
        if is_compiling():
            return None
        if device is not None:
            return torch.empty(0, dtype=torch.float32, device=device)
        return audio if torch.is_tensor(audio) else torch.empty(0, dtype=torch.float32, device="cpu")

    def log_mel(audio: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        audio = _loaded(original, audio, args[2] if len(args) > 2 else kwargs.get("device"))
        result = deferred.run(original, "whisper.log_mel_spectrogram", (audio, *args), kwargs)
        return original(audio, *args, **kwargs) if result is None else result

    log_mel.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]  # wrong arguments are known by it
    return override(log_mel, signal_of=signal_of)(original, active_options)


def _loaded(original: FunctionType, audio: Any, device: Any) -> torch.Tensor:
    """As the original does it first."""
    if not torch.is_tensor(audio):
        if isinstance(audio, str):
            audio = original.__globals__["load_audio"](audio)
        audio = torch.from_numpy(audio)
    return audio if device is None else audio.to(device)


def _recognises(function: FunctionType) -> bool | str:
    function = original_of(function)
    if structure_of(function).parameters != _PARAMETERS or "stft" not in structure_of(function).names:
        return False
    if missing := _NAMES - set(structure_of(function).names):
        return f"it has no {min(missing)}"
    return deferrable.oddity(function, _NAMES) or True


PROJECT = Project("whisper", hooks=(FunctionHook("log_mel_spectrogram", _make, _recognises),))
