"""Patches classes and functions that are recognised by their structure. They are copied into many projects, under any
module name, and may be loaded from a file that no import hook sees.

They are found among the imported modules when their group is wanted, and later when they first call torch.stft on an
accelerated device.
"""

from __future__ import annotations

import inspect
import sys
from types import FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple

from ..compat import ClassHook, FunctionHook
from ..execution import call_sites
from ..options import logger
from . import hooks


class _Declared(NamedTuple):
    group: str
    hook: ClassHook | FunctionHook

    @property
    def names(self) -> tuple[str, ...]:
        return self.hook.names if hasattr(self.hook, "names") else (self.hook.class_name,)


_declared: dict[_Declared, None] = {}
_doubts: dict[tuple[str, str], str] = {}  # by group and function: why it is left alone


def declare(group: str, hook: ClassHook | FunctionHook) -> None:
    _declared[_Declared(group, hook)] = None


def apply_groups() -> None:
    """Patches what is imported, of the groups that hooks.apply_groups() was told, and waits for the rest."""
    wanted = [one for one in _declared if hooks.is_wanted(one.group)]
    _doubts.clear()
    call_sites.observer = _look_at_caller if wanted else None
    names = {name for one in wanted for name in one.names}
    for module in list(sys.modules.values()) if names else ():
        try:  # as it is: getattr() would import a module that is loaded lazily, which can fail
            namespace = object.__getattribute__(module, "__dict__")
        except AttributeError:
            continue
        _look_at_namespace(namespace, names, module)


def doubts(group: str) -> dict[str, str]:
    """The functions of a group that may not be what they look like, and why, as hooks.states() tells it."""
    return {what: f"not patched: unknown version: {why}" for (of, what), why in _doubts.items() if of == group}


def _look_at_namespace(namespace: dict, names: set[str], module: Any) -> None:
    for name in names:
        found = namespace.get(name)
        if isinstance(found, type):
            _look_at_class(found)
        elif type(found) is FunctionType and getattr(_inner(found), "__globals__", None) is namespace:
            _look_at_function(found, name, module)


def _look_at_caller(frame: FrameType) -> None:
    """The class that defines the method which runs in the frame, or the function, and others of its module."""
    code, namespace = frame.f_code, frame.f_globals
    if code.co_argcount:
        this = frame.f_locals.get(code.co_varnames[0])
        for cls in type(this).__mro__:
            method = vars(cls).get(code.co_name)
            if getattr(method, "__code__", None) is code:
                _look_at_class(cls)
    found = namespace.get(code.co_name)
    if type(found) is FunctionType and getattr(_inner(found), "__code__", None) is code:
        names = {name for one in _declared for name in one.names}
        _look_at_namespace(namespace, names | {code.co_name}, _module_of(namespace))


def _inner(function: FunctionType) -> Any:
    """Below its decorators."""
    try:
        return inspect.unwrap(function)
    except ValueError:  # they wrap each other
        return function


def _module_of(namespace: dict) -> Any:
    module = sys.modules.get(namespace.get("__name__", ""))
    if isinstance(module, ModuleType) and object.__getattribute__(module, "__dict__") is namespace:
        return module
    return _hidden.setdefault(id(namespace), _Namespace(namespace))


class _Namespace:
    """A module that sys.modules does not have."""

    def __init__(self, names: dict) -> None:
        self.__dict__ = names


_hidden: dict[int, _Namespace] = {}  # by the id of their names, which they keep


def _look_at_class(cls: type) -> None:
    for group, hook in list(_declared):
        if getattr(hook, "class_name", None) == cls.__name__ and hooks.is_wanted(group):
            try:
                if hook.recognises(cls):
                    name = f"{cls.__qualname__}.{hook.attribute}"
                    hooks.apply_when_imported(hooks.declare(group, cls.__module__, name, hook.make, owner=cls))
            except Exception as error:  # somebody else's class: whatever it does, the program goes on
                logger.warning("%s.%s could not be patched: %r", cls.__module__, cls.__qualname__, error)


def _look_at_function(function: FunctionType, name: str, module: Any) -> None:
    if hooks.is_ours(function):
        return
    for group, hook in list(_declared):
        if hasattr(hook, "look") and hooks.is_wanted(group):
            try:
                doubt = hook.look(function)
                if doubt:
                    _doubts[group, f"{function.__module__}.{name}"] = doubt
                elif doubt is not None:
                    where = dict(owner=module, everywhere=True)
                    hooks.apply_when_imported(hooks.declare(group, function.__module__, name, hook.make, **where))
            except Exception as error:  # as above
                logger.warning("%s.%s could not be patched: %r", function.__module__, name, error)
