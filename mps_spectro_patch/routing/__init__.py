"""Looks at the arguments of a call and answers: fast, or fall back and why. Launches nothing, knows no patch."""

from .checks import ELEMENTS_MAX, PAD_MODES, SAMPLES_MAX, TENSORS, check_istft, check_stft
from .context import active_transforms, is_exporting, is_plain_eager, surroundings
from .decision import (
    decide,
    decide_compiled,
    decide_touched,
    dressed,
    look_up,
    route_istft,
    route_stft,
    set_rule,
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
    "decide_touched",
    "dressed",
    "is_exporting",
    "is_plain_eager",
    "look_up",
    "route_istft",
    "route_stft",
    "set_rule",
    "surroundings",
    "untouched",
]
