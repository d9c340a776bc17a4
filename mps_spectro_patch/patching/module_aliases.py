"""Modules that can be imported under a name that is not installed, made of functions that are.

The finder is the last one: a package that is really installed under the name wins. It is there only while a group wants
it. Afterwards its modules are removed from sys.modules; code that already imported one keeps it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import NamedTuple

from ..pending import kept
from . import hooks


class _Alias(NamedTuple):
    group: str
    names: dict[str, str]  # what is in it -> "package.module:name"


_declared: dict[str, _Alias] = kept(__name__, "declared", {})
_given: dict[str, ModuleType] = kept(__name__, "given", {})


def declare(group: str, name: str, names: dict[str, str]) -> None:
    _declared[name] = _Alias(group, names)


def apply_groups() -> None:
    """Offers the modules of the groups that hooks.apply_groups() was told, and removes those of others."""
    for name in [name for name in _given if not _is_wanted(name)]:
        module = _given.pop(name)
        if sys.modules.get(name) is module:
            del sys.modules[name]
    for finder in filter(_is_ours, list(sys.meta_path)):
        sys.meta_path.remove(finder)
    if any(map(_is_wanted, _declared)):
        sys.meta_path.append(_Finder())  # the last again: others may have been added since


def states(group: str) -> dict[str, str]:
    """ "import name" -> "patched", or why not, of each that is wanted and is not within another."""
    return {
        f"import {name}": "not needed: it is installed" if _is_installed(name) else "patched"
        for name, alias in _declared.items()
        if alias.group == group and _is_wanted(name) and name.rpartition(".")[0] not in _declared
    }


def _is_wanted(name: str) -> bool:
    return name in _declared and hooks.is_wanted(_declared[name].group)  # not one from before a reload


def _is_installed(name: str) -> bool:
    """Without importing it."""
    if name in sys.modules:
        return sys.modules[name] is not _given.get(name)
    finders = [finder for finder in sys.meta_path if not _is_ours(finder) and hasattr(finder, "find_spec")]
    return any(finder.find_spec(name, None) is not None for finder in finders)


def _is_ours(finder: object) -> bool:
    """By name: a reloaded module has another class of it."""
    kind = type(finder)
    return (kind.__module__, kind.__qualname__) == (_Finder.__module__, _Finder.__qualname__)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if not _is_wanted(name):
            return None
        parent = name.rpartition(".")[0]
        if parent in _declared and sys.modules.get(parent) is not _given.get(parent):
            return None  # a submodule that the installed one does not have
        return importlib.machinery.ModuleSpec(name, self, origin=__package__, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        _given[name] = module
        for other in _declared:  # first: importing a submodule sets its name in the package, which may be a function's
            if other.startswith(f"{name}."):
                importlib.import_module(other)
        names = _declared[name].names
        for ours, place in names.items():
            where, _, theirs = place.partition(":")
            setattr(module, ours, getattr(importlib.import_module(where), theirs))
        module.__doc__ = f"{name}'s names, from {__package__}."
        module.__all__ = sorted(names)
