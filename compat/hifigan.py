"""HiFi-GAN's and VITS's mel functions, which hundreds of vocoders and voices have a copy of: each in one launch, with
its gradient.

They are mel_spectrogram, mel_spectrogram_torch, spectrogram_torch and the like, also made of two functions, and
STFT.get_mel of nvSTFT.py. A copy has sizes, caches, messages and constants of its own, so its own code runs
(tools/deferred.py). It is known by its arguments and by what it calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType

from .tools import deferrable, deferred
from .tools.overrides import override
from .tools.project import ClassHook, FunctionHook, Project
from .tools.structure import structure_of

_NAMES = (
    "mel_spectrogram", "mel_spectrogram_torch", "spectrogram_torch", "get_bigvgan_mel_spectrogram",
    "get_mel_spectrogram", "get_mel",
)  # fmt: skip
_ARGUMENTS = ({"n_fft"}, {"hop_size", "hop_length"}, {"win_size", "win_length"}, {"center"})  # one of each
_CALLED = {"stft", "hann_window", "pad"}
_OF_NVSTFT = {
    "target_sr", "n_mels", "n_fft", "win_size", "hop_length", "fmin", "fmax", "clip_val", "mel_basis", "round",
}  # fmt: skip


def _make(original: Callable, active_options: Callable) -> Callable:
    name = f"{original.__module__}.{original.__qualname__}"
    return override(lambda *args, **kwargs: deferred.run(original, name, args, kwargs))(original, active_options)


def _make_function(original: Callable, active_options: Callable) -> Callable:
    return original if _look(original) else _make(original, active_options)  # its module may have been loaded again


def _look(function: FunctionType) -> str | None:
    parameters = set(structure_of(function).parameters)
    if not all(parameters & some for some in _ARGUMENTS):
        return None
    names = deferrable.names(inspect.unwrap(function))
    if not names >= _CALLED or names.isdisjoint(("sqrt", "sqrt_")):
        return None
    return deferrable.oddity(function)


def _is_nvstft(cls: type) -> bool:
    function = vars(cls).get("get_mel")
    if type(function) is not FunctionType or structure_of(function).parameters[:2] != ("self", "y"):
        return False
    return deferrable.names(function) >= _CALLED | {"mel_basis"} and not deferrable.oddity(function, _OF_NVSTFT)


PROJECT = Project(
    "hifigan", hooks=(FunctionHook(_NAMES, _make_function, _look), ClassHook("STFT", "get_mel", _make, _is_nvstft))
)
