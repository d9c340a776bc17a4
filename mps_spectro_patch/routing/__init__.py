"""Looks at the arguments of a call and answers: fast, or fall back and why. Launches nothing, knows no patch."""

from .checks import ELEMENTS_MAX, PAD_MODES, SAMPLES_MAX, TENSORS, check_istft, check_stft
from .context import active_transforms, is_exporting, surroundings
from .decision import (
    decide,
    decide_compiled,
    dressed,
    route_istft,
    route_stft,
    untouched,
)

__all__ = [
    "ELEMENTS_MAX",
    "PAD_MODES",
    "SAMPLES_MAX",
    "TENSORS",
    "active_transforms",
    "check_istft",
    "check_stft",
    "decide",
    "decide_compiled",
    "dressed",
    "is_exporting",
    "route_istft",
    "route_stft",
    "surroundings",
    "untouched",
]
