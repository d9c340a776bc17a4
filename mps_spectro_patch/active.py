"""Which options hold for the code that runs here: enable()'s, or those of the accelerated() around it.

Only remembers; installs nothing.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from .options import Options

process: Options | None = None  # enable()'s options: one immutable object, replaced whole, and what dynamo guards on


class Owner(Protocol):
    options: Options


class Scope:
    """One accelerated() that is entered, and what is around it."""

    __slots__ = ("owner", "outer", "options")

    def __init__(self, owner: Owner, outer: Scope | None) -> None:
        self.owner, self.outer, self.options = owner, outer, owner.options


scope: ContextVar[Scope | None] = ContextVar("mps_spectro_patch_scope", default=None)


def options_here() -> Options | None:
    """The options for code that runs here: the innermost accelerated(), else enable()'s."""
    here = scope.get()
    return process if here is None else here.options


def enter(owner: Owner) -> None:
    scope.set(Scope(owner, scope.get()))


def leave(owner: Owner) -> None:
    """Takes out the innermost scope of `owner`: not always the top, as interleaved generators leave in any order."""
    scope.set(_without(scope.get(), owner))


def _without(here: Scope | None, owner: Owner) -> Scope | None:
    if here is None or here.owner is owner:
        return None if here is None else here.outer
    return Scope(here.owner, _without(here.outer, owner))
