from ._transforms import MFCC, AmplitudeToDB, MelScale, MelSpectrogram, Spectrogram

__all__ = ["AmplitudeToDB", "MFCC", "MelScale", "MelSpectrogram", "Spectrogram"]
