"""Finds a function of ours in a chain of other people's wrappers, and how to take it out of there.

Wrappers say what they wrap in many ways: `__wrapped__`, a closure, a global name of their module (as Applio's zluda
patch does), an attribute of a callable object, a functools.partial. Each of those can be pointed elsewhere; a bound
method cannot.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

_LOOKED_AT_MAX = 200  # wrappers can be chained in a circle, or hold half the program


class Place(NamedTuple):
    """Where something refers to a function. put(other) makes it refer to another one; None where nothing can."""

    put: Callable[[Any], None] | None


def places(function: Callable, top: Any) -> list[Place]:
    """Every place that refers to `function`, seen from the callable `top` downwards. Empty: it is not in the chain."""
    found: list[Place] = []
    seen, queue = {id(function), id(top)}, deque([top])
    while queue and len(seen) < _LOOKED_AT_MAX:
        for value, put in _references(queue.popleft()):
            if value is function:
                found.append(Place(put))
            elif id(value) not in seen and _may_wrap(value):
                seen.add(id(value))
                queue.append(value)
    return found


def _references(holder: Any) -> Iterator[tuple[Any, Callable[[Any], None] | None]]:
    """(what `holder` refers to, how to make it refer to something else)."""
    kind = type(holder)  # not isinstance: proxies claim to be what they stand for
    if kind is MethodType:
        yield holder.__func__, None
        yield holder.__self__, None
        return
    if issubclass(kind, functools.partial):
        for value in (holder.func, *holder.args):
            yield value, functools.partial(put_in_partial, holder, value)
        for name, value in list(holder.keywords.items()):
            yield value, functools.partial(holder.keywords.__setitem__, name)
        return
    wrapped = _attribute(holder, "__wrapped__")
    if wrapped is not None:
        yield wrapped, functools.partial(setattr, holder, "__wrapped__")
    if kind is FunctionType:
        for cell in holder.__closure__ or ():
            try:
                yield cell.cell_contents, functools.partial(setattr, cell, "cell_contents")
            except ValueError:  # not filled yet
                continue
        for name in holder.__code__.co_names:
            if name in holder.__globals__:
                yield holder.__globals__[name], functools.partial(holder.__globals__.__setitem__, name)
        return
    for name, value in list(_own_names(holder).items()):
        if name != "__wrapped__":
            yield value, functools.partial(setattr, holder, name)


def put_in_partial(one: functools.partial, before: Any, after: Any) -> None:
    """Makes it call `after` instead of `before`, and give it as an argument."""
    _, _, (function, args, keywords, attributes) = functools.partial.__reduce__(one)
    function, *args = (after if value is before else value for value in (function, *args))
    functools.partial.__setstate__(one, (function, tuple(args), keywords, attributes))


def _may_wrap(value: Any) -> bool:
    """Whether to look inside: at callables and plain objects that are neither classes, modules nor torch's own."""
    if isinstance(value, (type, ModuleType)):
        return False
    kind = type(value)
    if kind is MethodType:
        return True
    # Where their code is: wrappers of torch's functions pass for torch's by name.
    module = value.__globals__.get("__name__") if kind is FunctionType else kind.__module__
    if kind is not FunctionType and not callable(value) and not _own_names(value):
        return False
    return isinstance(module, str) and module.partition(".")[0] not in _OF_NO_INTEREST


def _own_names(value: Any) -> dict[str, Any]:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # proxies of all kinds may be met here
        return None


_OF_NO_INTEREST = {"torch", "builtins", "logging", "threading", "typing", "collections"}
