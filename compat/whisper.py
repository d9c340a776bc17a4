"""Whisper's log_mel_spectrogram, also of the projects that have a copy of it, in two launches. The second one is for
the floor under the largest value of all.

Its own code runs (tools/deferred.py). Files and arrays are loaded, and moved to the device, by its own functions.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch.compiler import is_compiling

from .tools import deferrable, deferred
from .tools.overrides import override
from .tools.project import FunctionHook, Project
from .tools.structure import structure_of

_PARAMETERS = ("audio", "n_mels", "padding", "device")
_NAMES = {"is_tensor", "load_audio", "from_numpy", "mel_filters", "stft", "abs", "clamp", "log10", "maximum", "max"}


def _make(original: FunctionType, active_options: Callable) -> Callable:
    if _look(original):
        return original  # its module may have been loaded again
    signature, name = inspect.signature(original), "whisper.log_mel_spectrogram"
    fused = override(lambda *args, **kwargs: deferred.run(original, name, args, kwargs))(original, active_options)

    def loaded(audio: Any, device: Any) -> Any:
        """As the original does it first."""
        if not torch.is_tensor(audio):
            if isinstance(audio, str):
                audio = original.__globals__["load_audio"](audio)
            audio = torch.from_numpy(audio)
        return audio if device is None else audio.to(device)

    def log_mel_spectrogram(*args, **kwargs):
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # the original says so in its own words
            given = None
        if given is None or is_compiling() or active_options() is None:
            return original(*args, **kwargs)
        return fused(**{**given, "audio": loaded(given["audio"], given.get("device"))})

    return functools.update_wrapper(log_mel_spectrogram, original)


def _look(function: FunctionType) -> str | None:
    if structure_of(function).parameters != _PARAMETERS or "stft" not in structure_of(function).names:
        return None
    if missing := _NAMES - set(structure_of(function).names):
        return f"it has no {min(missing)}"
    return deferrable.oddity(function, _NAMES)


PROJECT = Project("whisper", hooks=(FunctionHook(("log_mel_spectrogram",), _make, _look),))
