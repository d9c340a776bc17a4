"""WHAT a mel call means: the direct functions, the modules, and how a front end is computed."""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "": ("compute", "functional", "filterbanks"),
        "compute": ("FrontEnd", "Scale", "remembered"),
        "direct": ("istft", "stft"),
        "filterbanks": ("melscale_fbanks",),
        "functional": (
            *("PAD_MODES", "amplitude_to_db", "decibels"),
            *("dynamic_mel_spectrogram", "dynamic_spectrogram", "mel_spectrogram"),
        ),
        "modules": (
            *("CompatMelSpectrogramTransform", "DynamicMelSpectrogramTransform", "FilterbankSpectrogramTransform"),
            *("KaldiFbankTransform", "LogMelSpectrogramTransform", "MFCCTransform", "MelSpectrogramTransform"),
            "WhisperLogMelTransform",
        ),
    },
)
