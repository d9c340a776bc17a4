"""Looks at the arguments of a call and answers: fast, or fall back and why. Launches nothing, knows no patch."""

from .checks import ELEMENTS_MAX, PAD_MODES, SAMPLES_MAX, TENSORS
from .context import active_transforms, is_exporting, surroundings
from .decision import decide, decide_compiled, dressed

__all__ = [
    "ELEMENTS_MAX", "PAD_MODES", "SAMPLES_MAX", "TENSORS", "active_transforms", "decide", "decide_compiled", "dressed",
    "is_exporting", "surroundings",
]  # fmt: skip
