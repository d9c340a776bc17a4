"""Ultimate Vocal Remover's class STFT and its copies: spectra stay on the device, and windows are copied there once.

Unpatched, `__call__` and `inverse` copy what they get to the CPU unless it is on an NVIDIA GPU, and their result back.
The class is recognised in a module of any name, by the lines that decide and by what is done on that decision. Nothing
changes where torch has no complex operations (tools/complex_support.py). audio_separator.py is about that one's copies.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import FunctionType

import torch

from .tools import complex_support
from .tools.overrides import original_of
from .tools.project import ClassHook, Project
from .tools.recompiled import Recompiled, Version, parsed, text_of
from .tools.structure import structure_of
from .tools.windows import copied

# How copies write the decision, and what they call it, the signal and the window.
_FORMS = (
    'not {}.device.type in ["cuda", "cpu"]', '{}.device.type not in ["cuda", "cpu"]',
    'not {}.device.type in ["cuda", "xpu", "cpu"]',
)  # fmt: skip
_MDX23C, _MDX = ("x_is_mps", "x", "self.window"), ("is_non_standard_device", "input_tensor", "self.hann_window")
_MDX23C_PADDING = {"n - f, t]).to(x.device)": "n - f, t], device=x.device)"}
_MDX_PADDING = {"time_dim]).to(input_tensor.device)": "time_dim], device=input_tensor.device)"}


def _stays(signal: torch.device, home: torch.device | str) -> bool:
    """Whether a spectrum can stay with its signal, and that is where the object's results belong."""
    is_there = isinstance(home, str | torch.device) and torch.device(home).type == signal.type
    return is_there and complex_support.stays(signal)


def _versions(name: str, signal: str, window: str, more: Version) -> list[Version]:
    lines = [f"{name} = {form.format(signal)}" for form in _FORMS]
    more = {f"{window}.to({signal}.device)": f"msp_copied({window}, {signal}.device)", **more}
    return [{line: f"{line} and not msp_stays({signal}.device, self.device)", **more} for line in lines]


_NAMES = {"msp_stays": _stays, "msp_copied": copied}
_MDX_VERSIONS = _versions(*_MDX, {})
_FORWARD = Recompiled(*_versions(*_MDX23C, {}), *_MDX_VERSIONS, **_NAMES)
_INVERSE = Recompiled(*_versions(*_MDX23C, _MDX23C_PADDING), *_MDX_VERSIONS, **_NAMES)
_PADDING = Recompiled(_MDX_PADDING)


def _leaves(cls: type, method: str) -> bool:
    """Whether it goes over the CPU from MPS, in a class that no other project here patches."""
    function = vars(cls).get(method)
    if not isinstance(function, FunctionType) or cls.__module__.startswith("audio_separator."):
        return False
    found = structure_of(function)
    stays = {"cuda", "mps"} <= found.keywords  # a list of devices
    return {"torch", "device", "type", "cpu"} <= set(found.names) and not stays


def _recogniser(method: str, changed: Recompiled) -> Callable[[type], bool | str]:
    def recognises(cls: type) -> bool | str:
        if not _leaves(cls, method):
            return False
        missing = changed.lacks(method, cls)
        if missing is None and not _only_copies(original_of(vars(cls)[method])):
            missing = "it does more than copy where it goes over the CPU"
        return missing or True

    return recognises


def _only_copies(function: FunctionType) -> bool:
    """Whether two copies are all that the decision is about: to the CPU, and of the result back."""
    nodes = list(ast.walk(parsed(text_of(function))))
    named = [node for node in nodes if isinstance(node, ast.Name) and node.id in (_MDX23C[0], _MDX[0])]
    steps = [node for node in nodes if isinstance(node, ast.If) and node.test in named and not node.orelse]
    texts = [ast.unparse(step.body[0]) for step in steps if len(step.body) == 1]
    return len(named) == 3 and len(texts) == 2 and texts[0].endswith(".cpu()") and texts[1].endswith(".to(self.device)")


def _pads(cls: type) -> bool:
    method = "pad_frequency_dimension"
    return method in vars(cls) and _leaves(cls, "inverse") and _PADDING.lacks(method, cls) is None


_HOOKS = (
    ("__call__", _FORWARD, _recogniser("__call__", _FORWARD)),
    ("inverse", _INVERSE, _recogniser("inverse", _INVERSE)),
    ("pad_frequency_dimension", _PADDING, _pads),
)

PROJECT = Project("uvr", hooks=tuple(ClassHook("STFT", name, changed.make, knows) for name, changed, knows in _HOOKS))
