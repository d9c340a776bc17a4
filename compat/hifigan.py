"""HiFi-GAN's and VITS's mel functions, which hundreds of vocoders and voices have a copy of: each in one launch, with
its gradient.

They are mel_spectrogram, mel_spectrogram_torch, spectrogram_torch and the like, also made of two functions, and
STFT.get_mel of nvSTFT.py. A copy has sizes, caches, messages and constants of its own, so its own code runs
(tools/deferred.py). It is known by its name, its arguments and what it calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType

from .tools import deferrable, deferred
from .tools.overrides import original_of, override
from .tools.project import ClassHook, FunctionHook, Project
from .tools.structure import structure_of

_NAMES = (
    "mel_spectrogram", "mel_spectrogram_torch", "spectrogram_torch", "get_bigvgan_mel_spectrogram",
    "get_mel_spectrogram",
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
    is_known = _recognises(original) is True  # its module may have been loaded again
    return _make(original, active_options) if is_known else original


def _recognises(function: FunctionType) -> bool | str:
    function = original_of(function)
    parameters = set(structure_of(function).parameters)
    if not all(parameters & some for some in _ARGUMENTS):
        return False
    names = deferrable.names(inspect.unwrap(function))
    if not names >= _CALLED or names.isdisjoint(("sqrt", "sqrt_")):
        return False
    return deferrable.oddity(function) or True


def _is_nvstft(cls: type) -> bool:
    function = vars(cls).get("get_mel")
    if type(function) is not FunctionType or structure_of(function).parameters[:2] != ("self", "y"):
        return False
    return deferrable.names(function) >= _CALLED | {"mel_basis"} and not deferrable.oddity(function, _OF_NVSTFT)


PROJECT = Project(
    "hifigan",
    hooks=(
        *(FunctionHook(name, _make_function, _recognises) for name in _NAMES),
        ClassHook("STFT", "get_mel", _make, _is_nvstft),
    ),
)
