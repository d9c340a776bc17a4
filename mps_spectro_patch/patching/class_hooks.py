"""Patches of classes that are known by their look, wherever they are: copies of one class live in many projects, under
any module name, and may be loaded from a file that no import hook sees.

They are found among the imported modules when their group is wanted, and later when a method of theirs first calls
torch.stft on an accelerated device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

from ..execution import call_sites
from ..options import logger
from . import hooks


class Lookalike(NamedTuple):
    """Classes of this name that `recognises` knows: their `attribute` is patched by `make`, as in patching/hooks.py."""

    group: str
    class_name: str
    attribute: str
    make: hooks.Maker
    recognises: Callable[[type], bool]


_declared: dict[Lookalike, None] = {}


def declare(lookalike: Lookalike) -> None:
    _declared[lookalike] = None


def want() -> None:
    """Patches the classes that are there, of the groups that extras.want() was told, and waits for others to show."""
    wanted = [one for one in _declared if hooks.is_wanted(one.group)]
    call_sites.observer = _look_at_caller if wanted else None
    if wanted:
        for cls in _imported({one.class_name for one in wanted}):
            _look_at(cls)


def _imported(names: set[str]) -> Iterator[type]:
    for module in list(sys.modules.values()):
        attributes = getattr(module, "__dict__", None) or {}
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
    for one in list(_declared):
        if cls.__name__ == one.class_name and hooks.is_wanted(one.group):
            try:
                if one.recognises(cls):
                    name = f"{cls.__qualname__}.{one.attribute}"
                    hooks.apply_when_imported(hooks.declare(one.group, cls.__module__, name, one.make, owner=cls))
            except Exception as error:  # somebody else's class: whatever it does, the program goes on
                logger.warning("%s.%s could not be patched: %r", cls.__module__, cls.__qualname__, error)
