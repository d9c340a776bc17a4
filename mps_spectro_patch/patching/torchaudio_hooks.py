"""Which of torchaudio's functions enable(torchaudio=True) patches: data for patching/hooks.py, made by
compat/torchaudio.py."""

from __future__ import annotations

from . import hooks

_FUNCTIONS, _TRANSFORMS = "torchaudio.functional.functional", "torchaudio.transforms._transforms"
HOOKS = (  # module, attribute, what makes the function that goes there
    (_FUNCTIONS, "spectrogram", "spectrogram"),
    ("torchaudio.functional", "spectrogram", "spectrogram"),
    (_FUNCTIONS, "amplitude_to_DB", "amplitude_to_db"),
    ("torchaudio.functional", "amplitude_to_DB", "amplitude_to_db"),
    (_TRANSFORMS, "MelSpectrogram.forward", "mel_spectrogram"),
    (_TRANSFORMS, "MFCC.forward", "mfcc"),
)


def declare() -> None:
    for module, attribute, maker in HOOKS:
        hooks.declare("torchaudio", module, attribute, f"{__package__.rpartition('.')[0]}.compat.torchaudio:{maker}")
