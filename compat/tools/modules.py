"""Whether a module does what its class says, so that one launch may stand for its calls."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch.nn.modules import module as torchs

_CALL, _CALL_IMPL = torch.nn.Module.__call__, torch.nn.Module._call_impl
_REPLACED = ("forward", "_call_impl")  # what a call looks up in the module itself (accelerate, for one, puts its own)
# Dictionaries that never change places. (torch's own question after them is not in torch 2.7.)
_HOOKS_ON_ALL = [
    getattr(torchs, f"_global_{kind}_hooks") for kind in ("forward_pre", "forward", "backward_pre", "backward")
]


def does_what_its_class_does(module: torch.nn.Module, name: str, defined_in: ModuleType | None) -> bool:
    """Whether it is of just the class `name` of the Python module `defined_in` (parametrised modules and subclasses are
    not), nobody has replaced its forward, and nobody listens to its calls."""
    return (
        defined_in is not None
        and type(module) is getattr(defined_in, name, None)
        and is_from(type(module).forward, defined_in)
        and is_its_class_alone(module)
    )


def is_its_class_alone(module: torch.nn.Module) -> bool:
    """Whether nobody has replaced the module's own forward, and nobody listens to its calls."""
    return (
        not any(name in vars(module) for name in _REPLACED)
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks or any(_HOOKS_ON_ALL))
        and type(module).__call__ is _CALL
        and type(module)._call_impl is _CALL_IMPL
    )


def is_from(function: Callable, module: ModuleType | None) -> bool:
    """Whether the function was written there. What override() makes of it counts, as it has the same globals."""
    return module is not None and getattr(function, "__globals__", None) is vars(module)
