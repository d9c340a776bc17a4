"""Names in other modules that were bound to torch's functions early: `from torch import stft` before enable().

Finds them in sys.modules, and functools.partial objects wherever they are, and replaces them for reach="references".
Functions that are bound elsewhere (default arguments, dictionaries, attributes of objects) are not found.
"""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections.abc import Callable, Collection
from types import ModuleType
from typing import NamedTuple

from ..pending import kept
from .wrapper_chains import put_in_partial


class Reference(NamedTuple):
    """A module-level name that is bound to a function of ours or of torch's."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def bound_to(*functions: Callable) -> list[Reference]:
    """Every module-level name outside of torch and this package that is bound to one of the functions."""
    kinds = set(map(type, functions))  # tells most names apart at once (id() is slow where somebody audits)
    each = {id(function): function for function in functions}.values()
    return [
        Reference(module, name)
        for module, namespace in namespaces()
        for name, value in list(namespace.items())
        if type(value) in kinds
        for function in each
        if value is function
    ]


def rebind(ways: Collection[tuple[Callable, Callable]]) -> None:
    """Binds every name that is bound to `before` to `after`, for each (before, after). By identity: other names are
    left alone."""
    if not ways:
        return
    kinds = {type(before) for before, _ in ways}
    for _, namespace in namespaces():
        for name, value in list(namespace.items()):
            if type(value) in kinds:
                for before, after in ways:
                    if value is before and namespace.get(name) is before:
                        namespace[name] = after


# Partials that call another function than they were made with: that, and the other one.
_moved: list[tuple[weakref.ref[functools.partial], Callable, Callable]] = kept(__name__, "moved", [])


def move_partials(ways: Collection[tuple[Callable, Callable]]) -> None:
    """Each partial of `before` calls `after` from now on, for each (before, after)."""
    for one in partials_of(*(before for before, _ in ways)):
        before, after = next(way for way in ways if way[0] is one.func)
        put_in_partial(one, before, after)
        _moved.append((weakref.ref(one), before, after))


def put_partials_back(after: Callable) -> None:
    """Those that were moved to `after` call what they called before."""
    for ref, before, now in _moved:
        one = ref()
        if now is after and one is not None and one.func is after:
            put_in_partial(one, now, before)
    _moved[:] = [moved for moved in _moved if moved[2] is not after and moved[0]() is not None]


def count_moved(after: Callable) -> int:
    """How many partials were moved to `after`, and are still there."""
    return sum(now is after and ref() is not None for ref, _, now in _moved)


def partials_of(*functions: Callable) -> list[functools.partial]:
    """The functools.partial objects of the functions, as far as the garbage collector knows them. It looks at all
    objects of the process, which takes longer than all modules."""
    return (
        []
        if not functions
        else [
            one
            for one in gc.get_referrers(*functions)
            if issubclass(type(one), functools.partial) and any(one.func is function for function in functions)
        ]
    )


def namespaces() -> list[tuple[str, dict]]:
    """The name and the names of every module outside of torch and this package. Imports no lazy module."""
    found: dict[int, tuple[str, dict]] = {}  # one module may be known by two names
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] not in ("torch", "mps_spectro_patch"):
            namespace = object.__getattribute__(module, "__dict__")
            found.setdefault(id(namespace), (name, namespace))
    return list(found.values())
