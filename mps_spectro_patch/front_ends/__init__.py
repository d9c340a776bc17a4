"""WHAT a mel call means: the public functions and modules, their description (spec) and how it is computed."""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "": ("compute", "filterbanks", "functional", "losses"),
        "direct": ("istft", "stft"),
        "filterbanks": ("melscale_fbanks",),
        "functional": ("amplitude_to_db", "dynamic_mel_spectrogram", "dynamic_spectrogram", "mel_spectrogram"),
        "modules.filterbank": ("FilterbankSpectrogramTransform",),
        "losses": ("LossCall",),
        "modules.losses": ("MultiResolutionSTFTLoss", "STFTLoss"),
        "modules.kaldi": ("KaldiFbankTransform",),
        "modules.mel": (
            *("CompatMelSpectrogramTransform", "DynamicMelSpectrogramTransform"),
            *("LogMelSpectrogramTransform", "MelSpectrogramTransform"),
        ),
        "modules.mfcc": ("MFCCTransform",),
        "modules.whisper": ("WhisperLogMelTransform",),
        "spec": ("FrontEnd", "Scale", "decibels", "remembered", "resolve", "shifted"),
    },
)
