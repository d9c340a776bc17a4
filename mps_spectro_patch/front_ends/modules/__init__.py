"""Front ends as modules: mps-spectro's mel spectrograms, any filterbank, MFCC, Whisper's and Kaldi's."""

from .filterbank import FilterbankSpectrogramTransform
from .kaldi import KaldiFbankTransform
from .mel import (
    CompatMelSpectrogramTransform,
    DynamicMelSpectrogramTransform,
    LogMelSpectrogramTransform,
    MelSpectrogramTransform,
)
from .mfcc import MFCCTransform
from .whisper import WhisperLogMelTransform

__all__ = [
    "CompatMelSpectrogramTransform",
    "DynamicMelSpectrogramTransform",
    "FilterbankSpectrogramTransform",
    "KaldiFbankTransform",
    "LogMelSpectrogramTransform",
    "MFCCTransform",
    "MelSpectrogramTransform",
    "WhisperLogMelTransform",
]
