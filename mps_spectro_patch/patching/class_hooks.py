"""Patches classes that are recognised by their structure. One class is copied into many projects, under any module
name, and may be loaded from a file that no import hook sees.

They are found among the imported modules when their group is wanted, and later when a module of such a class is built,
or when one of their methods first calls torch.stft on an accelerated device.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple

from ..compat import ClassHook
from ..execution import call_sites
from ..options import logger
from . import built, hooks


class _Declared(NamedTuple):
    group: str
    hook: ClassHook


_declared: dict[_Declared, None] = {}


def declare(group: str, hook: ClassHook) -> None:
    _declared[_Declared(group, hook)] = None


def apply_groups() -> None:
    """Patches the classes that are imported, of the groups that hooks.apply_groups() was told, and waits for others."""
    wanted = [one for one in _declared if hooks.is_wanted(one.group)]
    call_sites.observer = _look_at_caller if wanted else None
    names = {one.hook.class_name for one in wanted}
    built.watch(_look_at, names)
    if wanted:
        for cls in _imported(names):
            _look_at(cls)


def _imported(names: set[str]) -> Iterator[type]:
    for module in list(sys.modules.values()):
        try:  # as it is: getattr() would import a module that is loaded lazily, which can fail
            attributes = object.__getattribute__(module, "__dict__")
        except AttributeError:
            continue
        for name in names:
            if isinstance(cls := attributes.get(name), type):
                yield cls


def _look_at_caller(frame: FrameType) -> None:
    """The class that defines the method which runs in the frame."""
    if not frame.f_code.co_argcount:
        return
    this = frame.f_locals.get(frame.f_code.co_varnames[0])
    for cls in type(this).__mro__:
        method = vars(cls).get(frame.f_code.co_name)
        if getattr(method, "__code__", None) is frame.f_code:
            _look_at(cls)


def _look_at(cls: type) -> None:
    for group, hook in list(_declared):
        if cls.__name__ == hook.class_name and hooks.is_wanted(group):
            try:
                if hook.recognises(cls):
                    name = f"{cls.__qualname__}.{hook.attribute}"
                    hooks.apply_when_imported(hooks.declare(group, cls.__module__, name, hook.make, owner=cls))
            except Exception as error:  # somebody else's class: whatever it does, the program goes on
                logger.warning("%s.%s could not be patched: %r", cls.__module__, cls.__qualname__, error)
