"""torch.functional.stft and istft under reach="references": ours where code looks them up, torch's own for all others.

The body of torch.functional.stft hands the global of that name to __torch_function__, where tables know torch's own,
and pickle writes a function's name only if that leads to the function. So the module's namespace stays as it is. What
changes is the module's class, which answers `torch.functional.stft` or `from torch.functional import stft` in code with
our function. getattr(), pickle, TorchScript, torch.compile and torch itself get what they always got.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import torch

from ..execution import call_sites
from ..options import logger
from ..pending import kept
from . import early_names

_IN_CODE = {
    dis.opmap[name]
    for name in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM", "IMPORT_STAR", "CALL_INTRINSIC_1")  # the last: import *
    if name in dis.opmap
}
_LIMIT = 256
_places: dict[
    tuple[int, int], tuple[CodeType, bool]
] = {}  # by code (its id; kept, so that it stays that) and place in it
_classes: list[type] = kept(__name__, "classes", [])  # the one that we gave the module, if any
_shown: list[tuple[str, Callable, Callable]] = kept(__name__, "shown", [])


def show(functions: Iterable[tuple[str, Callable, Callable]]) -> None:
    """(name, our function, torch's own) of all that is to be seen, and nothing else."""
    wanted = list(functions)
    if wanted == _shown:
        return
    module = sys.modules["torch.functional"]
    if type(module) in _classes:
        module.__class__ = ModuleType
    _classes.clear()
    _shown[:] = wanted
    if wanted and type(module) is ModuleType:
        _classes.append(
            type("module", (ModuleType,), {name: _attribute(name, ours, own) for name, ours, own in wanted})
        )
        module.__class__ = _classes[0]
    elif wanted:
        logger.warning("torch.functional is a %s of somebody's: its functions stay torch's own", type(module).__name__)


def _attribute(name: str, ours: Callable, own: Callable) -> property:
    def get(module: ModuleType) -> Any:
        try:
            here = vars(module)[name]
        except KeyError:
            raise AttributeError(
                f"module 'torch.functional' has no attribute {name!r}", name=name, obj=module
            ) from None
        frame = sys._getframe(1)
        known = _places.get((id(frame.f_code), frame.f_lasti))  # which is looked up in every call
        try:
            is_code = _is_in_a_programs_code(frame) if known is None else known[1]
        except Exception as error:
            logger.warning("torch.functional.%s is torch's own here, as the code could not be seen: %r", name, error)
            is_code = False
        return ours if is_code and here is own else here

    def put(module: ModuleType, value: Any) -> None:
        vars(module)[name] = value

    def delete(module: ModuleType) -> None:
        del vars(module)[name]

    return property(get, put, delete)


def _is_in_a_programs_code(frame: FrameType) -> bool:
    """Whether the frame looks an attribute up at this moment, and does not call somebody in C who does."""
    code, at = frame.f_code, frame.f_lasti
    file = code.co_filename
    looks_up = at >= 0 and code.co_code[at] in _IN_CODE
    if file.startswith("<") and frame.f_back is not None:  # torch.compile evaluates text, such as guards
        return looks_up and not call_sites.is_between(frame.f_back.f_code.co_filename)
    answer = looks_up and not call_sites.is_between(file)
    if len(_places) >= _LIMIT:
        _places.clear()
    _places[id(code), at] = code, answer
    return answer


def users(ops: Iterable[str]) -> list[str]:
    """ "module.function: torch.functional.stft" for all functions and methods of modules that look one up there."""
    names = set(ops)
    return [
        f"{module}.{function.__qualname__}: torch.functional.{op}"
        for module, namespace in early_names.namespaces()
        if not {id(torch), id(torch.functional)}.isdisjoint(map(id, list(namespace.values())))
        for function in _functions(module, namespace)
        if not names.isdisjoint(function.__code__.co_names)
        for op in sorted(names & _looked_up(function))
    ]


def _functions(module: str, namespace: dict) -> Iterator[FunctionType]:
    """Those that the module defines, and the methods of its classes."""
    for value in list(namespace.values()):
        if type(value) is FunctionType and value.__module__ == module:
            yield value
        elif isinstance(value, type) and value.__module__ == module:
            for method in list(vars(value).values()):
                function = (
                    getattr(method, "__func__", method) if isinstance(method, (staticmethod, classmethod)) else method
                )
                if type(function) is FunctionType and function.__module__ == module:
                    yield function


def _looked_up(function: FunctionType) -> set[str]:
    """The names that a function looks up in torch.functional, as far as its code says so."""
    found, holder = set(), None
    for step in dis.get_instructions(function):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            holder = function.__globals__.get(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            if holder is torch.functional:
                found.add(step.argval)
            holder = torch.functional if holder is torch and step.argval == "functional" else None
        elif step.opname not in ("PUSH_NULL", "EXTENDED_ARG"):
            holder = None
    return found
