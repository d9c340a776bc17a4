"""Whether a module does what its class says, so that one launch may stand for its calls."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from ...front_ends import is_its_class_alone


def does_what_its_class_does(module: torch.nn.Module, name: str, defined_in: ModuleType | None) -> bool:
    """Whether it is of just the class `name` of the Python module `defined_in` (parametrised modules and subclasses are
    not), nobody has replaced its forward, and nobody listens to its calls."""
    return (
        defined_in is not None
        and type(module) is getattr(defined_in, name, None)
        and is_from(type(module).forward, defined_in)
        and is_its_class_alone(module)
    )


def is_from(function: Callable, module: ModuleType | None) -> bool:
    """Whether the function was written there. What override() makes of it counts, as it has the same globals."""
    return module is not None and getattr(function, "__globals__", None) is vars(module)
