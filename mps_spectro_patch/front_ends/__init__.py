"""WHAT a mel call means: the public functions and modules, their description (spec) and how it is computed."""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:  # the public names; a type checker would take any name from __getattr__
    from .direct import istft as istft
    from .direct import stft as stft
    from .filterbanks import melscale_fbanks as melscale_fbanks
    from .functional import amplitude_to_db as amplitude_to_db
    from .functional import dynamic_mel_spectrogram as dynamic_mel_spectrogram
    from .functional import dynamic_spectrogram as dynamic_spectrogram
    from .functional import mel_spectrogram as mel_spectrogram
    from .modules.base import is_its_class_alone as is_its_class_alone
    from .modules.filterbank import FilterbankSpectrogramTransform as FilterbankSpectrogramTransform
    from .modules.kaldi import KaldiFbankTransform as KaldiFbankTransform
    from .modules.losses import MultiResolutionSTFTLoss as MultiResolutionSTFTLoss
    from .modules.losses import STFTLoss as STFTLoss
    from .modules.mel import CompatMelSpectrogramTransform as CompatMelSpectrogramTransform
    from .modules.mel import DynamicMelSpectrogramTransform as DynamicMelSpectrogramTransform
    from .modules.mel import LogMelSpectrogramTransform as LogMelSpectrogramTransform
    from .modules.mel import MelSpectrogramTransform as MelSpectrogramTransform
    from .modules.mel_loss import MelSpectrogramLoss as MelSpectrogramLoss
    from .modules.mfcc import MFCCTransform as MFCCTransform
    from .modules.whisper import WhisperLogMelTransform as WhisperLogMelTransform
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "": ("compute", "filterbanks", "functional", "kaldi", "losses"),
            "direct": ("istft", "stft"),
            "filterbanks": ("melscale_fbanks",),
            "functional": ("amplitude_to_db", "dynamic_mel_spectrogram", "dynamic_spectrogram", "mel_spectrogram"),
            "modules.base": ("is_its_class_alone",),
            "modules.filterbank": ("FilterbankSpectrogramTransform",),
            "losses": ("LossCall",),
            "modules.kaldi": ("KaldiFbankTransform",),
            "modules.losses": ("MultiResolutionSTFTLoss", "STFTLoss"),
            "modules.mel": (
                *("CompatMelSpectrogramTransform", "DynamicMelSpectrogramTransform"),
                *("LogMelSpectrogramTransform", "MelSpectrogramTransform"),
            ),
            "modules.mel_loss": ("MelSpectrogramLoss",),
            "modules.mfcc": ("MFCCTransform",),
            "modules.whisper": ("WhisperLogMelTransform",),
            "spec": ("FrontEnd", "Scale", "decibels", "remembered", "resolve", "shifted"),
        },
    )
