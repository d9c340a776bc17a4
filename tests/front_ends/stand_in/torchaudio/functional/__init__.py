from .functional import amplitude_to_DB, griffinlim, inverse_spectrogram, spectrogram

__all__ = ["amplitude_to_DB", "griffinlim", "inverse_spectrogram", "spectrogram"]
