from collections import namedtuple

STFTParams = namedtuple(
    "STFTParams", ["window_length", "hop_length", "window_type", "match_stride", "padding_type"], defaults=(None,) * 5
)
from .core.audio_signal import AudioSignal  # noqa: E402, F401
