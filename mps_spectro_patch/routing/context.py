"""What surrounds a call: function and dispatch modes, functorch transforms, tracing, export."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.compiler import is_compiling
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from ..reasons import Reason

# Asked on every call: found once.
_compiler = torch.compiler
_function_modes, _dispatch_modes = torch._C._len_torch_function_stack, torch._C._len_torch_dispatch_stack
_are_transforms_active = torch._C._are_functorch_transforms_active
_is_wrapped, _tracing_state = torch._C._functorch.is_functorch_wrapped_tensor, torch._C._get_tracing_state


def asked_while_tracing(otherwise: Any) -> Callable[[Callable], Callable]:
    """A function that dynamo asks when it traces, instead of tracing it. otherwise: its answer if it fails then, as no
    other step of ours could catch that, and torch's compilation would end.

    It is what torch.compiler.assume_constant_result() does, without importing all of dynamo.
    """

    def wrap(function: Callable) -> Callable:
        @wraps(function)
        def ask(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as error:
                if isinstance(error, Warning) or _translator() is None:
                    raise
                text = f"mps_spectro_patch: while code was compiled, {function.__name__} raised {error!r}."
                warnings.warn(f"{text} The original's result was used.", RuntimeWarning, stacklevel=2)
                return otherwise

        ask._dynamo_marked_constant = True  # type: ignore[attr-defined]
        return ask

    return wrap


@asked_while_tracing(
    "others"
)  # a C function, which not every version can trace; dynamo guards on the transforms itself
def active_transforms() -> str:
    """Functorch's transforms that are active: none (""), those our operators have rules for ("rules"), or "others"."""
    if not _are_transforms_active():
        return ""
    kinds = {interpreter.key() for interpreter in torch._C._functorch.get_interpreter_stack() or ()}
    known = {torch._C._functorch.TransformType.Vmap, torch._C._functorch.TransformType.Grad}
    return "rules" if kinds <= known else "others"


def is_exporting() -> bool:
    """Whether torch.export is at work. The flag itself: before 2.13 dynamo takes torch.compiler.is_exporting() for true
    in every compilation, and old versions have neither."""
    return getattr(_compiler, "_is_exporting_flag", False) or (is_compiling() and _dynamo_is_exporting())


@asked_while_tracing(True)
def _dynamo_is_exporting() -> bool:
    """Strict export sets no flag in torch 2.7; dynamo's translator of the moment knows."""
    return bool(getattr(_translator(), "export", False))


def _translator() -> Any:
    """What of dynamo traces in this thread, or None."""
    try:
        return sys.modules["torch._dynamo.symbolic_convert"].InstructionTranslator.current_tx()
    except (KeyError, AttributeError):
        return None


def surroundings(input, window, transforms: str) -> Reason | None:
    """What is going on around the call that an operator of ours would hide from, or that would hide from it."""
    if _function_modes() and not all(map(_only_sets_the_device, _get_current_function_mode_stack())):
        return Reason.MODE
    if _dispatch_modes() and not all(isinstance(mode, FakeTensorMode) for mode in _get_current_dispatch_mode_stack()):
        return Reason.MODE
    if transforms == "others":
        return Reason.TRANSFORM
    if not transforms and (_is_wrapped(input) or (isinstance(window, torch.Tensor) and _is_wrapped(window))):
        return Reason.TRANSFORM  # escaped from a finished transform
    if _tracing_state() is not None or is_exporting():
        return Reason.TRACING
    return None


def _only_sets_the_device(mode) -> bool:
    """Whether this is the mode behind torch.set_default_device(), which concerns constructors only."""
    module = sys.modules.get("torch.utils._device")
    return module is not None and type(mode) is module.DeviceContext


def copies_hidden_by_vmap(input, window) -> int:
    """How many calls become one: the sizes of the dimensions that vmap hides, all together."""
    copies = 1
    for tensor in (input, window):
        if not isinstance(tensor, torch.Tensor):
            continue
        hidden = tensor
        while torch._C._functorch.is_functorch_wrapped_tensor(hidden):
            hidden = torch._C._functorch.get_unwrapped(hidden)
        copies *= max(1, hidden.numel() // max(1, tensor.numel()))
    return copies
