"""Which options hold for the code that runs here: enable()'s, or those of the accelerated() around it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

from .options import Options
from .pending import kept


class Scope(NamedTuple):
    """The options of one accelerated() that is entered, and what is around it."""

    options: Options
    outer: Scope | None


_kept: dict[str, Options | None] = kept(__name__, "process", {"process": None})
# enable()'s options: one immutable object, replaced whole by put_process(), and what dynamo guards on.
process: Options | None = _kept["process"]
scope: ContextVar[Scope | None] = kept(__name__, "scope", ContextVar("mps_spectro_patch_scope", default=None))


def put_process(options: Options | None) -> None:
    """What enable() and disable() change."""
    global process
    process = _kept["process"] = options


def options_here() -> Options | None:
    """The options for code that runs here: the innermost accelerated(), else enable()'s."""
    here = scope.get()
    return process if here is None else here.options


def enter(options: Options) -> None:
    scope.set(Scope(options, scope.get()))


def leave(options: Options) -> None:
    """Takes out the innermost scope with these: not always the top, as interleaved generators leave in any order."""
    scope.set(_without(scope.get(), options))


def _without(here: Scope | None, options: Options) -> Scope | None:
    if here is None or here.options is options:
        return None if here is None else here.outer
    return here._replace(outer=_without(here.outer, options))
