"""torch.stft and torch.istft as single fused Metal kernels, without editing the program that calls them.

This file only exports names and reads MPS_SPECTRO_PATCH. Importing it patches nothing (without that variable) and
compiles nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .options import start_from_environment
from .patching import accelerated, disable, enable, is_enabled
from .report import explain, reset_stats, stats, status

if TYPE_CHECKING:
    from .direct import istft, stft
    from .filterbanks import melscale_fbanks
    from .functional import amplitude_to_db, dynamic_mel_spectrogram, dynamic_spectrogram, mel_spectrogram
    from .transforms import (
        CompatMelSpectrogramTransform,
        DynamicMelSpectrogramTransform,
        FilterbankSpectrogramTransform,
        KaldiFbankTransform,
        LogMelSpectrogramTransform,
        MelSpectrogramTransform,
        MFCCTransform,
        WhisperLogMelTransform,
    )

__version__ = "0.1.0"
__all__ = [
    "CompatMelSpectrogramTransform",
    "DynamicMelSpectrogramTransform",
    "FilterbankSpectrogramTransform",
    "KaldiFbankTransform",
    "LogMelSpectrogramTransform",
    "MFCCTransform",
    "MelSpectrogramTransform",
    "WhisperLogMelTransform",
    "__version__",
    "accelerated",
    "amplitude_to_db",
    "disable",
    "dynamic_mel_spectrogram",
    "dynamic_spectrogram",
    "enable",
    "explain",
    "is_enabled",
    "istft",
    "mel_spectrogram",
    "melscale_fbanks",
    "reset_stats",
    "stats",
    "status",
    "stft",
]

# Imported when they are first asked for: programs that only call enable() do not wait for them.
_HOMES = {
    "direct": ("istft", "stft"),
    "filterbanks": ("melscale_fbanks",),
    "functional": ("amplitude_to_db", "dynamic_mel_spectrogram", "dynamic_spectrogram", "mel_spectrogram"),
    "transforms": tuple(name for name in __all__ if name.endswith("Transform")),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            found = globals()[name] = getattr(import_module(f".{module}", __name__), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


start_from_environment(enable)
