"""Copies of this package in one process, one after the other: some reloaders (Spyder's) delete modules and import them
again. What the copy before has patched is ended by the next one, or else layers would pile up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch

T = TypeVar("T")
# At the copy that patches, while it does, torch has an attribute of this name: how to end what that has patched. No
# reloader deletes torch.
_NAME = f"_{__name__.partition('.')[0]}_end"
# And one of this name, always: what modules have to know behind a reload, by module.
_KEPT = f"_{__name__.partition('.')[0]}_kept"


def kept(module: str, name: str, new: T) -> T:
    """`new`, or what that was when the module of this name was loaded first: so that it can undo what it did before.
    (Its own variables may be gone: IPython's autoreload empties a module before it loads it again.)"""
    if not hasattr(torch, _KEPT):
        setattr(torch, _KEPT, WeakKeyDictionary())
    return getattr(torch, _KEPT).setdefault(sys.modules[module], {}).setdefault(name, new)


def take_over(end: Callable[[], None]) -> None:
    """Ends what another copy has patched. From now on, `end` ends what this one patches."""
    end_others(end)
    setattr(torch, _NAME, end)


def end_others(end: Callable[[], None]) -> None:
    if not is_alone(end):
        getattr(torch, _NAME)()


def is_alone(end: Callable[[], None]) -> bool:
    """Whether no other copy patches anything."""
    other = getattr(torch, _NAME, end)
    return other.__globals__ is end.__globals__  # a module that was reloaded has another function, in the same place


def give_up(end: Callable[[], None]) -> None:
    """`end` has nothing to end any more."""
    if hasattr(torch, _NAME) and is_alone(end):
        delattr(torch, _NAME)
