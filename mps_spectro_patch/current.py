"""Which options hold for the code that runs here: enable()'s, or those of the accelerated() around it.

Only remembers; installs nothing.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple, Protocol

from . import guard, routing
from .options import Options

process: Options | None = None  # enable()'s options: one immutable object, replaced whole, and what dynamo guards on


class Owner(Protocol):
    options: Options


class Scope(NamedTuple):
    """One accelerated() that is entered, and what is around it."""

    owner: Owner
    outer: Scope | None


scope: ContextVar[Scope | None] = ContextVar("mps_spectro_patch_scope", default=None)


def options_here() -> Options | None:
    """The options for code that runs here: the innermost accelerated(), else enable()'s."""
    here = scope.get()
    return process if here is None else here.owner.options


def options_for_compiled_code() -> Options | None:
    """enable()'s options, unless the code must later run without this package, or some plan is known to be bad."""
    return None if process is None or routing.is_exporting() or guard.quarantined else process


def enter(owner: Owner) -> None:
    scope.set(Scope(owner, scope.get()))


def leave(owner: Owner) -> None:
    """Takes out the innermost scope of `owner`: not always the top, as interleaved generators leave in any order."""
    scope.set(_without(scope.get(), owner))


def _without(here: Scope | None, owner: Owner) -> Scope | None:
    if here is None or here.owner is owner:
        return None if here is None else here.outer
    return Scope(here.owner, _without(here.outer, owner))
