"""torch.stft and torch.istft as single fused Metal kernels, without editing the program that calls them.

This file only says where the public names are, and reads MPS_SPECTRO_PATCH. Importing it imports no torch, patches
nothing (without that variable) and compiles nothing: a name is loaded when it is first used.
"""

from . import startup

TYPE_CHECKING = False  # as typing's, whose import would double what this file costs
if TYPE_CHECKING:
    from . import kernels
    from .direct import istft, stft
    from .explaining import explain
    from .filterbanks import melscale_fbanks
    from .functional import amplitude_to_db, dynamic_mel_spectrogram, dynamic_spectrogram, mel_spectrogram
    from .patching import disable, enable, is_enabled
    from .reporting import report, reset_stats, stats, status, watch_calls
    from .scope import accelerated
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
    "__version__",
    "CompatMelSpectrogramTransform",
    "DynamicMelSpectrogramTransform",
    "FilterbankSpectrogramTransform",
    "KaldiFbankTransform",
    "LogMelSpectrogramTransform",
    "MelSpectrogramTransform",
    "MFCCTransform",
    "WhisperLogMelTransform",
    "accelerated",
    "amplitude_to_db",
    "disable",
    "dynamic_mel_spectrogram",
    "dynamic_spectrogram",
    "enable",
    "explain",
    "is_enabled",
    "istft",
    "kernels",
    "mel_spectrogram",
    "melscale_fbanks",
    "report",
    "reset_stats",
    "stats",
    "status",
    "stft",
    "watch_calls",
]

_MODULES = {
    "direct": ("istft", "stft"),
    "explaining": ("explain",),
    "filterbanks": ("melscale_fbanks",),
    "functional": ("amplitude_to_db", "dynamic_mel_spectrogram", "dynamic_spectrogram", "mel_spectrogram"),
    "kernels": ("kernels",),
    "patching": ("disable", "enable", "is_enabled"),
    "reporting": ("report", "reset_stats", "stats", "status", "watch_calls"),
    "scope": ("accelerated",),
    "transforms": tuple(name for name in __all__ if name.endswith("Transform")),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".{_MODULE_OF[name]}", __name__)
    value = module if name == _MODULE_OF[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


startup.begin()
