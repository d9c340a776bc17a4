"""Replaces functions of other modules: which ones, and what makes the function that goes there.

Everything in compat uses this. A patch is applied when its module is imported and one of its groups is wanted, and
removed by identity when none is wanted any more. No module is imported for it.

    declare("torchaudio", "torchaudio.functional", "spectrogram", make)

`make(original, active_options)` returns a plain function. active_options() gives the options that hold for the calling
code if they include the group, else None. A make that returns `original` changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from torch.compiler import is_compiling

from .. import active
from ..options import Options, logger
from ..pending import kept
from . import early_names, pickled, post_import, wrapper_chains

Maker = Callable[[Callable, Callable[[], "Options | None"]], Callable]


class Patch(NamedTuple):
    """One function to replace: `attribute` (dots allowed) of `module`.

    lacks(module) says what a module of an unknown version lacks, or nothing. applies_to(module): False for modules that
    are skipped silently. owner: the class or module that has the attribute, where the name does not lead there.
    everywhere: names in other modules that are bound to the function are bound to ours, too.
    """

    module: str
    attribute: str
    make: Maker
    lacks: Callable[[ModuleType], str | None] | None = None
    applies_to: Callable[[ModuleType], bool] | None = None
    owner: type | ModuleType | None = None
    everywhere: bool = False

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


class _Applied(NamedTuple):
    owner: Any
    name: str
    original: Callable
    ours: Callable


_declared: dict[tuple[str, str, Any], Patch] = kept(__name__, "declared", {})
_groups: dict[Patch, list[str]] = kept(__name__, "groups", {})
_applied: dict[Patch, _Applied] = kept(__name__, "applied", {})
_problems: dict[Patch, str] = kept(__name__, "problems", {})
_skipped: set[Patch] = kept(__name__, "skipped", set())
_wanted: set[str] = kept(__name__, "wanted", set())


def declare(group: str, *what: Any, **more: Any) -> Patch:
    """Adds the Patch of these fields to a group; the same patch may be in several. Raises ValueError if the attribute
    is declared with another maker."""
    patch = Patch(*what, **more)
    known = _declared.setdefault((patch.module, patch.attribute, patch.owner), patch)
    if known != patch:
        if group not in _groups[known] or _maker(known) != _maker(patch):
            raise ValueError(f"{patch} is declared already, for {', '.join(_groups[known])}")
        with _rebinding():
            _replace(known, patch)  # its project was loaded again
    if group not in _groups.get(patch, ()):
        _groups.setdefault(patch, []).append(group)
    return patch


def apply_groups(groups: Iterable[str]) -> None:
    """Applies the patches of these groups, now or when their modules are imported, and removes all others."""
    wanted = set(groups)
    _wanted.update(wanted)
    _wanted.intersection_update(wanted)
    with _rebinding():
        _forget_what_is_gone()
        for patch in list(_applied):
            if not _is_patch_wanted(patch):
                _remove(patch)
    with _rebinding():
        for patch in list(_declared.values()):
            if _is_patch_wanted(patch):
                _apply_when_imported(patch)


def apply_when_imported(patch: Patch) -> None:
    """For a patch that was declared after its group was wanted. That of a class is applied at once."""
    with _rebinding():
        _apply_when_imported(patch)


_rebound: list[tuple[Callable, Callable]] = []  # what names in other modules are bound to, and will be


@contextmanager
def _rebinding() -> Iterator[None]:
    """Looks at the names of all modules once, however many patches are `everywhere`."""
    try:
        yield
    finally:
        ways = list(_rebound)
        _rebound.clear()
        early_names.rebind(ways)


def _forget_what_is_gone() -> None:
    """Patches of modules that are no longer imported: nothing else would ever let go of these."""
    of_modules = [(place, patch) for place, patch in _declared.items() if isinstance(patch.owner, ModuleType)]
    imported = set(map(id, list(sys.modules.values()))) if of_modules else ()
    for place, patch in of_modules:
        if id(patch.owner) not in imported:
            if patch in _applied:
                _remove(patch)
            for known in (_applied, _groups, _problems):
                known.pop(patch, None)
            _skipped.discard(patch)
            del _declared[place]


def _apply_when_imported(patch: Patch) -> None:
    if patch.owner is not None:
        _apply_to(patch, patch.owner, patch.attribute.rpartition(".")[2])
    else:
        post_import.when_imported(patch.module, lambda module: _apply(patch, module), patch)


def is_wanted(group: str) -> bool:
    return group in _wanted


def states(group: str | None = None) -> dict[str, str]:
    """What became of each patch that is wanted or could not be removed: of all groups, or of one."""
    return {
        str(patch): _state(patch)
        for patch in _declared.values()
        if (_is_patch_wanted(patch) and patch not in _skipped) or patch in _applied
        if group is None or group in _groups.get(patch, ())
    }


def _state(patch: Patch) -> str:
    if patch in _applied:
        if _applied[patch].ours is _applied[patch].original:
            return "not patched: nothing to do"
        return "patched" if _is_patch_wanted(patch) else "patched, inert, below somebody else's wrapper"
    if patch in _problems:
        return f"not patched: {_problems[patch]}"
    module = sys.modules.get(patch.module)
    # A project may put a module of its own under another's name as well: that is not what is waited for.
    is_here = module is not None and getattr(module, "__name__", None) == patch.module
    return "not patched" if is_here else "not patched: waits for the import"


def _is_patch_wanted(patch: Patch) -> bool:
    return not _wanted.isdisjoint(_groups.get(patch, ()))  # none of one from before a reload


def _apply(patch: Patch, module: ModuleType) -> None:
    if not _is_patch_wanted(patch):  # disabled since the import hook was made
        return
    if patch.applies_to is not None and not patch.applies_to(module):
        _skipped.add(patch)
        return
    _skipped.discard(patch)
    if patch.lacks is not None and (missing := patch.lacks(module)):
        _complain(patch, f"unknown version: {missing}")
        return
    path = patch.attribute.split(".")
    try:
        owner = reduce(getattr, path[:-1], module)
        getattr(owner, path[-1])
    except AttributeError as error:
        _complain(patch, f"unknown version: it has no attribute {error.name!r}")
        return
    _apply_to(patch, owner, path[-1])


def _complain(patch: Patch, why: str) -> None:
    if _problems.get(patch) != why:
        logger.warning("%s is not patched: %s", patch, why)
    _problems[patch] = why


def _apply_to(patch: Patch, owner: Any, name: str) -> None:
    original = getattr(owner, name)
    before = _applied.get(patch)
    if before and before.owner is owner and (original is before.ours or wrapper_chains.places(before.ours, original)):
        return
    same = _under_another_name(patch, original)
    if same:  # one function under two names stays one
        original, ours = same.original, same.ours
    else:
        try:
            groups = _groups.setdefault(patch, [])  # dynamo (torch 2.11) cannot look a patch with methods up
            ours = patch.make(original, lambda: _active_options(groups))
        except Exception as error:
            _problems[patch] = f"{type(error).__name__}: {error}"
            raise
    setattr(owner, name, ours)
    if patch.everywhere:
        _rebound.append((original, ours))
    _applied[patch] = _Applied(owner, name, original, ours)
    _problems.pop(patch, None)


def _under_another_name(patch: Patch, found: Callable) -> _Applied | None:
    """The same patch of the same function under another name, which may have been bound before it or since."""
    same = (applied for other, applied in _applied.items() if other.make == patch.make and other != patch)
    return next((applied for applied in same if found is applied.original or found is applied.ours), None)


def _maker(patch: Patch) -> tuple[str, str]:
    return patch.make.__module__, patch.make.__qualname__


def _replace(old: Patch, new: Patch) -> None:
    if old in _applied:
        _remove(old)
    _applied.pop(old, None)
    _problems.pop(old, None)
    _skipped.discard(old)
    _groups[new] = _groups.pop(old)
    _declared[new.module, new.attribute, new.owner] = new


def _remove(patch: Patch) -> None:
    applied = _applied[patch]
    top = getattr(applied.owner, applied.name, None)
    if applied.ours is not applied.original and isinstance(applied.ours, FunctionType):
        pickled.take_out(applied.ours)
    if patch.everywhere:
        _rebound.append((applied.ours, applied.original))
    if top is applied.ours:
        setattr(applied.owner, applied.name, applied.original)
    else:
        for place in wrapper_chains.places(applied.ours, top):
            if place.put is not None:
                place.put(applied.original)
        if wrapper_chains.places(applied.ours, top):
            logger.warning("%s was wrapped by somebody else: our layer stays below, inert", patch)
            return
    del _applied[patch]


def _active_options(groups: list[str]) -> Options | None:
    options = active.process if is_compiling() else active.options_here()
    return options if options is not None and not set(groups).isdisjoint(options.groups) else None
