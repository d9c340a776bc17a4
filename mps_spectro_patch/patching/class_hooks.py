"""Patches classes and functions that are recognised by their structure. One is copied into many projects, under any
module name, and may be loaded from a file that no import hook sees.

They are found among the imported modules when their group is wanted, and later when a module of such a class is built,
or when one of their methods, or another function of their module, first calls torch.stft on an accelerated device.
"""

from __future__ import annotations

import sys
from types import FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple

from ..compat import ClassHook, FunctionHook
from ..execution import call_sites
from ..options import logger
from . import built, early_names, hooks


class _Declared(NamedTuple):
    group: str
    hook: ClassHook | FunctionHook

    @property
    def name(self) -> str:
        return self.hook[0]


_declared: dict[_Declared, None] = {}
_left_alone: dict[str, dict[str, str]] = {}  # by group: what, and why


def declare(group: str, hook: ClassHook | FunctionHook) -> None:
    _declared[_Declared(group, hook)] = None


def apply_groups() -> None:
    """Patches what is imported, of the groups that hooks.apply_groups() was told, and waits for more."""
    _left_alone.clear()
    wanted = {one.name for one in _declared if hooks.is_wanted(one.group)}
    call_sites.observer = _look_at_caller if wanted else None
    built.watch(_look_at, wanted)
    if wanted:
        for name, attributes in early_names.namespaces():
            if not attributes.keys().isdisjoint(wanted):  # in most modules there is none
                _look_at_all(attributes, wanted, sys.modules.get(name))


def left_alone(group: str) -> dict[str, str]:
    """As hooks.states(): what is like that which a group looks for, and not certainly the same."""
    return {what: f"not patched: unknown version: {why}" for what, why in _left_alone.get(group, {}).items()}


def _look_at_caller(frame: FrameType) -> None:
    """The class that defines the method which runs in the frame; and what else is in the module of that code."""
    if frame.f_code.co_argcount:
        this = frame.f_locals.get(frame.f_code.co_varnames[0])
        for cls in type(this).__mro__:
            method = vars(cls).get(frame.f_code.co_name)
            if getattr(method, "__code__", None) is frame.f_code:
                _look_at(cls)
    module = sys.modules.get(frame.f_globals.get("__name__", ""))
    is_its_own = module is not None and getattr(module, "__dict__", None) is frame.f_globals
    _look_at_all(frame.f_globals, {one.name for one in _declared}, module if is_its_own else None)


def _look_at_all(attributes: dict[str, Any], names: set[str], module: ModuleType | None) -> None:
    for name in attributes.keys() & names:  # in most modules there is none
        found = attributes.get(name)
        if isinstance(found, type):
            _look_at(found)
        elif isinstance(found, FunctionType) and module is not None:
            _look_at(found, module)


def _look_at(found: type | FunctionType, module: ModuleType | None = None) -> None:
    """module: where a function was found."""
    for group, hook in list(_declared):
        wanted = (
            type(hook).__name__ == (ClassHook if module is None else FunctionHook).__name__
        )  # see projects.declare()
        if not wanted or found.__name__ != hook[0] or not hooks.is_wanted(group):
            continue
        try:
            answer = hook.recognises(found)
            if module is None:
                owner, home, name = found, found.__module__, f"{found.__qualname__}.{hook.attribute}"
            else:
                owner, home, name = module, module.__name__, hook.function_name
            if isinstance(answer, str):
                _left_alone.setdefault(group, {})[f"{home}.{name}"] = answer
            elif answer:
                everywhere = module is not None
                patch = hooks.declare(group, home, name, hook.make, owner=owner, everywhere=everywhere)
                hooks.apply_when_imported(patch)
        except Exception as error:  # somebody else's: whatever it does, the program goes on
            logger.warning("%s.%s could not be patched: %r", found.__module__, found.__qualname__, error)
