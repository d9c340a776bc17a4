"""Patches of other modules' functions, as data: where, and what makes the function that goes there.

The engine behind torchaudio=True and compat. A patch is applied when its module is imported and one of its groups is
wanted, and taken out by identity when none is wanted any more. Nothing is imported for it but what makes the function.

    declare("torchaudio", "torchaudio.functional", "melscale_fbanks", "mps_spectro_patch.somewhere:make")

`make(original, is_active)` returns a plain function. is_active() gives the options for the code that calls if they
include the group, and else None. A make that returns `original` changes nothing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from functools import reduce
from types import ModuleType
from typing import Any, NamedTuple

from torch.compiler import is_compiling

from .. import active
from ..options import Options, logger
from . import post_import, wrapper_chains

Maker = Callable[[Callable, Callable[[], "Options | None"]], Callable]


class Extra(NamedTuple):
    """One function to patch: `attribute` (dots allowed) of `module`, by a maker or "package.module:maker".

    fits(module) says what a module of another version lacks, or nothing. owner: the class whose attribute it is, where
    the module's name does not lead there. concerns(module): False for modules that are passed over in silence.
    """

    module: str
    attribute: str
    make: str | Maker
    fits: Callable[[ModuleType], str | None] | None = None
    owner: type | None = None
    concerns: Callable[[ModuleType], bool] | None = None

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


class _Applied(NamedTuple):
    owner: Any
    name: str
    original: Callable
    ours: Callable


_declared: dict[tuple[str, str, type | None], Extra] = {}
_groups: dict[Extra, tuple[str, ...]] = {}
_applied: dict[Extra, _Applied] = {}
_problems: dict[Extra, str] = {}
_passed_over: set[Extra] = set()
_wanted: frozenset[str] = frozenset()


def declare(
    group: str, module: str, attribute: str, make: str | Maker,
    fits: Callable[[ModuleType], str | None] | None = None, owner: type | None = None,
    concerns: Callable[[ModuleType], bool] | None = None,
) -> Extra:  # fmt: skip
    """Adds a patch, or finds the same one, for this group as well. Raises ValueError if the attribute is declared with
    another maker."""
    extra = Extra(module, attribute, make, fits, owner, concerns)
    if _declared.setdefault((module, attribute, owner), extra) != extra:
        known = _declared[module, attribute, owner]
        raise ValueError(f"{extra} is declared already, for {', '.join(_groups[known])}")
    if group not in _groups.get(extra, ()):
        _groups[extra] = (*_groups.get(extra, ()), group)
    return extra


def want(wanted: Iterable[str]) -> None:
    """Applies the patches of these groups, now or when their modules are imported, and takes out all others."""
    global _wanted
    _wanted = frozenset(wanted)
    for extra in list(_applied):
        if not _is_wanted(extra):
            _take_out(extra)
    for extra in list(_declared.values()):
        if _is_wanted(extra):
            apply_when_imported(extra)


def apply_when_imported(extra: Extra) -> None:
    """For a patch that was declared after its group was wanted. A class is there already."""
    if extra.owner is not None:
        _patch(extra, extra.owner, extra.attribute.rpartition(".")[2])
    else:
        post_import.when_imported(extra.module, lambda module: _apply(extra, module), f"{extra} {_name(extra.make)}")


def is_wanted(group: str) -> bool:
    return group in _wanted


def state(group: str | None = None) -> dict[str, str]:
    """What became of each patch that is wanted, and of those that could not be taken out: of all, or of one group."""
    return {
        str(extra): _state(extra)
        for extra in _declared.values()
        if (_is_wanted(extra) and extra not in _passed_over) or extra in _applied
        if group is None or group in _groups[extra]
    }


def _state(extra: Extra) -> str:
    if extra in _applied:
        if _applied[extra].ours is _applied[extra].original:
            return "not patched: nothing to do"
        return "patched" if _is_wanted(extra) else "patched, inert, below somebody else's wrapper"
    if extra in _problems:
        return f"not patched: {_problems[extra]}"
    module = sys.modules.get(extra.module)
    # A project may put a module of its own under another's name as well: that is not what is waited for.
    is_here = module is not None and getattr(module, "__name__", None) == extra.module
    return "not patched" if is_here else "not patched: waits for the import"


def _is_wanted(extra: Extra) -> bool:
    return not _wanted.isdisjoint(_groups[extra])


def _apply(extra: Extra, module: ModuleType) -> None:
    if not _is_wanted(extra):  # disabled between the hook's making and the import
        return
    if extra.concerns is not None and not extra.concerns(module):
        _passed_over.add(extra)
        return
    _passed_over.discard(extra)
    if extra.fits is not None and (unlike := extra.fits(module)):
        _complain(extra, f"unknown version: {unlike}")
        return
    path = extra.attribute.split(".")
    try:
        owner = reduce(getattr, path[:-1], module)
        getattr(owner, path[-1])
    except AttributeError as error:
        _complain(extra, f"unknown version: it has no attribute {error.name!r}")
        return
    _patch(extra, owner, path[-1])


def _complain(extra: Extra, why: str) -> None:
    if _problems.get(extra) != why:
        logger.warning("%s is not patched: %s", extra, why)
    _problems[extra] = why


def _patch(extra: Extra, owner: Any, name: str) -> None:
    original = getattr(owner, name)
    before = _applied.get(extra)
    if before and before.owner is owner and (original is before.ours or wrapper_chains.places(before.ours, original)):
        return
    twin = _twin(extra, original)
    if twin:  # one function under two names stays one
        original, ours = twin.original, twin.ours
    else:
        try:
            ours = _maker(extra.make)(original, lambda: _options_if_active(extra))
        except Exception as error:
            _problems[extra] = f"{type(error).__name__}: {error}"
            raise
    setattr(owner, name, ours)
    _applied[extra] = _Applied(owner, name, original, ours)
    _problems.pop(extra, None)


def _maker(make: str | Maker) -> Maker:
    if callable(make):
        return make
    module, _, function = make.partition(":")
    return getattr(importlib.import_module(module), function)


def _name(make: str | Maker) -> str:
    return make if isinstance(make, str) else f"{make.__module__}:{make.__qualname__}"


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
        for place in wrapper_chains.places(patch.ours, top):
            if place.put is not None:
                place.put(patch.original)
        if wrapper_chains.places(patch.ours, top):
            logger.warning("%s was wrapped by somebody else: our layer stays below, inert", extra)
            return
    del _applied[extra]


def _options_if_active(extra: Extra) -> Options | None:
    options = active.process if is_compiling() else active.options_here()
    return options if options is not None and not set(_groups[extra]).isdisjoint(options.groups) else None
