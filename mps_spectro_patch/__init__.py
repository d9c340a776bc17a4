"""torch.stft and torch.istft as single fused Metal kernels, without editing the program that calls them.

This file only says where the public names are, and reads MPS_SPECTRO_PATCH. Importing it imports no torch, patches
nothing (without that variable) and compiles nothing: a name is loaded when it is first used.
"""

from . import lazy, startup
from .version import __version__

TYPE_CHECKING = False  # as typing's, whose import would double what this file costs
if TYPE_CHECKING:
    from . import kernels
    from .diagnostics import explain, report, reset_stats, stats, status, watch_calls
    from .front_ends import (
        CompatMelSpectrogramTransform,
        DynamicMelSpectrogramTransform,
        FilterbankSpectrogramTransform,
        KaldiFbankTransform,
        LogMelSpectrogramTransform,
        MelSpectrogramLoss,
        MelSpectrogramTransform,
        MFCCTransform,
        MultiResolutionSTFTLoss,
        STFTLoss,
        WhisperLogMelTransform,
        amplitude_to_db,
        dynamic_mel_spectrogram,
        dynamic_spectrogram,
        istft,
        mel_spectrogram,
        melscale_fbanks,
        stft,
    )
    from .graphs import fuse
    from .patching import accelerated, disable, enable, is_enabled

__all__ = [
    "__version__",
    "CompatMelSpectrogramTransform",
    "DynamicMelSpectrogramTransform",
    "FilterbankSpectrogramTransform",
    "KaldiFbankTransform",
    "LogMelSpectrogramTransform",
    "MelSpectrogramLoss",
    "MelSpectrogramTransform",
    "MFCCTransform",
    "MultiResolutionSTFTLoss",
    "STFTLoss",
    "WhisperLogMelTransform",
    "accelerated",
    "amplitude_to_db",
    "disable",
    "dynamic_mel_spectrogram",
    "dynamic_spectrogram",
    "enable",
    "explain",
    "fuse",
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

if not TYPE_CHECKING:  # a type checker would take any name from __getattr__
    __getattr__, __dir__, _ = lazy.attach(
        __name__,
        {
            "": ("kernels",),
            "diagnostics": ("explain", "report", "reset_stats", "stats", "status", "watch_calls"),
            "front_ends": (
                *("amplitude_to_db", "dynamic_mel_spectrogram", "dynamic_spectrogram", "istft", "mel_spectrogram"),
                *("melscale_fbanks", "stft"),
                *(name for name in __all__ if name.endswith(("Transform", "Loss"))),
            ),
            "graphs": ("fuse",),
            "patching": ("accelerated", "disable", "enable", "is_enabled"),
            "cli": ("load_ipython_extension", "unload_ipython_extension"),  # %load_ext mps_spectro_patch
        },
    )

startup.begin()
