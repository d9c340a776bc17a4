"""The shape of a compat module: one `PROJECT`, which says as data what is patched where, and the functions it names.

Writing one: docs/compat.md.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import NamedTuple


class Hook(NamedTuple):
    """`attribute` of `module` is replaced by what make(original, active_options) returns, once the module is imported.

    lacks(module) is the feature test: it says in words what an unknown version lacks, and then nothing is patched; or
    it returns None. (A missing attribute needs no test.) applies_to(module): False for another project's module of that
    name, and for versions that are known to work without the patch. Those are skipped silently.
    """

    module: str
    attribute: str
    make: Callable
    lacks: Callable[[ModuleType], str | None] | None = None
    applies_to: Callable[[ModuleType], bool] | None = None


class ClassHook(NamedTuple):
    """`attribute` of classes of this name, in any module, that recognises(cls) knows by their structure.

    Its answer is True, False, or, for a class that is alike but not certainly the same, why it is left alone, which
    status() tells.
    """

    class_name: str
    attribute: str
    make: Callable
    recognises: Callable[[type], bool | str]


class FunctionHook(NamedTuple):
    """Functions of this name, in any module, that recognises(function) knows by their structure, as a ClassHook."""

    function_name: str
    make: Callable
    recognises: Callable[[FunctionType], bool | str]


class Alias(NamedTuple):
    """A module that can be imported by this name, if nothing of that name is installed.

    names: what is in it -> where that is from, as "package.module:name".
    """

    name: str
    names: dict[str, str]


@dataclass(frozen=True)
class Project:
    """A downstream project.

    distribution: its name on PyPI. packages: what is imported; empty if that can be anything. tested: the first version
    that was tested and the first that was not; they are only shown, the feature tests decide. note: what a user should
    know. has_own_option: enable() has an option of this name, off unless it is given; all others are part of compat.
    """

    name: str
    hooks: tuple[Hook | ClassHook | FunctionHook | Alias, ...]
    distribution: str | None = None
    packages: tuple[str, ...] = ()
    tested: tuple[str, str] | None = None
    note: str = ""
    has_own_option: bool = False

    @property
    def group(self) -> str:
        """The name of its patches in Options.groups."""
        return self.name if self.has_own_option else f"compat.{self.name}"

    def version(self) -> str | None:
        try:
            return importlib.metadata.version(self.distribution) if self.distribution else None
        except importlib.metadata.PackageNotFoundError:
            return None

    def is_installed(self) -> bool:
        """Whether it could be imported. Imports nothing."""
        return any(name in sys.modules or _is_found(name) for name in self.packages)


def _is_found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a parent that is missing, or a module without a spec
        return False
