"""Patches of other modules' functions, as data: where, and what makes the function that goes there.

The engine behind torchaudio=True and compat. A patch is applied when its module is imported and its group is wanted,
and taken out by identity when it is not wanted any more. Nothing is imported for it but what makes the function.

    declare("torchaudio", "torchaudio.functional", "melscale_fbanks", "mps_spectro_patch.somewhere:make")

`make(original, is_active)` returns a plain function: is_active() says whether the group holds for the code that calls.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from functools import reduce
from types import ModuleType
from typing import Any, NamedTuple

from . import chains, current, imports
from .options import logger


class Extra(NamedTuple):
    """One function to patch: `attribute` (dots allowed) of `module`, by "package.module:function", for a group."""

    group: str
    module: str
    attribute: str
    make: str

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


class _Applied(NamedTuple):
    owner: Any
    name: str
    original: Callable
    ours: Callable


_declared: dict[tuple[str, str], Extra] = {}
_applied: dict[Extra, _Applied] = {}
_problems: dict[Extra, str] = {}
_wanted: frozenset[str] = frozenset()


def declare(group: str, module: str, attribute: str, make: str) -> Extra:
    """Adds a patch, or finds the same one. Raises ValueError if the same attribute is declared already."""
    extra = Extra(group, module, attribute, make)
    if _declared.setdefault((module, attribute), extra) != extra:
        raise ValueError(f"{extra} is declared already, for {_declared[module, attribute].group}")
    return extra


def groups() -> set[str]:
    return {extra.group for extra in _declared.values()}


def want(wanted: Iterable[str]) -> None:
    """Applies the patches of these groups, now or when their modules are imported, and takes out all others."""
    global _wanted
    _wanted = frozenset(wanted)
    for extra in list(_applied):
        if extra.group not in _wanted:
            _take_out(extra)
    for extra in _declared.values():
        if extra.group in _wanted:
            imports.when_imported(extra.module, lambda module, extra=extra: _apply(extra, module), str(extra))


def state() -> dict[str, str]:
    """What became of each patch of a group that is wanted, and of those that could not be taken out."""
    return {
        str(extra): _state(extra) for extra in _declared.values() if extra.group in _wanted or extra in _applied
    }


def _state(extra: Extra) -> str:
    if extra in _applied:
        return "patched" if extra.group in _wanted else "patched, inert, below somebody else's wrapper"
    if extra in _problems:
        return f"not patched: {_problems[extra]}"
    return "not patched: waits for the import" if extra.module not in sys.modules else "not patched"


def _apply(extra: Extra, module: ModuleType) -> None:
    if extra.group not in _wanted:  # disabled between the hook's making and the import
        return
    path = extra.attribute.split(".")
    try:
        owner = reduce(getattr, path[:-1], module)
        original = getattr(owner, path[-1])
    except AttributeError as error:
        _problems[extra] = f"{error}"
        logger.warning("%s is not patched: %s", extra, error)
        return
    before = _applied.get(extra)
    if before and before.owner is owner and (original is before.ours or chains.places(before.ours, original)):
        return
    twin = _twin(extra, original)
    if twin:  # one function under two names stays one
        original, ours = twin.original, twin.ours
    else:
        name, _, function = extra.make.partition(":")
        ours = getattr(importlib.import_module(name), function)(original, lambda: _is_active(extra.group))
    setattr(owner, path[-1], ours)
    _applied[extra] = _Applied(owner, path[-1], original, ours)
    _problems.pop(extra, None)


def _twin(extra: Extra, found: Callable) -> _Applied | None:
    """The same patch of the same function under another name, which may have been bound before it or since."""
    same = (patch for other, patch in _applied.items() if other.make == extra.make and other != extra)
    return next((patch for patch in same if found is patch.original or found is patch.ours), None)


def _take_out(extra: Extra) -> None:
    patch = _applied[extra]
    top = getattr(patch.owner, patch.name, None)
    if top is patch.ours:
        setattr(patch.owner, patch.name, patch.original)
    else:
        for place in chains.places(patch.ours, top):
            if place.put is not None:
                place.put(patch.original)
        if chains.places(patch.ours, top):
            logger.warning("%s was wrapped by somebody else: our layer stays below, inert", extra)
            return
    del _applied[extra]


def _is_active(group: str) -> bool:
    options = current.options_here()
    return options is not None and group in options.groups
