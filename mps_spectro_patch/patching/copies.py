"""Copies of this package in one process, one after the other: some reloaders (Spyder's) delete modules and import them
again. What the copy before has patched is ended by the next one, or else layers would pile up.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

# At the copy that patches, while it does, torch has an attribute of this name: how to end what that has patched. No
# reloader deletes torch.
_NAME = f"_{__name__.partition('.')[0]}_end"


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
