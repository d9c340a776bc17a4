"""Looks at the arguments of a call and answers: fast, or fall back and why. Launches nothing, knows no patch."""

from .checks import ELEMENTS_MAX, PAD_MODES, SAMPLES_MAX, TENSORS, ends_of_same
from .context import active_transforms, asked_while_tracing, is_exporting, surroundings
from .decision import decide, decide_compiled, dressed
from .sizes import plain_size, with_plain_sizes

__all__ = [
    "ELEMENTS_MAX", "PAD_MODES", "SAMPLES_MAX", "TENSORS", "active_transforms", "asked_while_tracing", "decide",
    "decide_compiled", "dressed", "ends_of_same", "is_exporting", "plain_size", "surroundings", "with_plain_sizes",
]  # fmt: skip
