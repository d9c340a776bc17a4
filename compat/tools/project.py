"""The shape of a compat module: one `PROJECT`, which says as data what is patched where, and the functions it names.

Writing one: docs/compat.md.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple


class Hook(NamedTuple):
    """`attribute` of `module` is replaced by what make(original, is_active) returns, once the module is imported.

    fits(module) is the feature test: what a version that we do not know lacks, in words, or nothing if all is there.
    Then nothing is patched. (That the attribute itself is missing needs no test.) concerns(module): False for somebody
    else's module of that name, and for versions that are known to do without the attribute: nothing is said of those.
    """

    module: str
    attribute: str
    make: Callable
    fits: Callable[[ModuleType], str | None] | None = None
    concerns: Callable[[ModuleType], bool] | None = None


class Look(NamedTuple):
    """A class of this name under any module, known by its look: recognises(cls)."""

    class_name: str
    attribute: str
    make: Callable
    recognises: Callable[[type], bool]


class Alias(NamedTuple):
    """A module that can be imported by this name, if nothing of that name is installed.

    names: what is in it -> where that is from, as "package.module:name".
    """

    name: str
    names: dict[str, str]


@dataclass(frozen=True)
class Project:
    """A downstream project.

    packages: what is imported, "" if that can be anything. tested: (the first version that was tested, the first that
    was not); they are told, and decide nothing: the feature tests do. note: what a user should know.
    """

    name: str
    hooks: tuple[Hook | Look | Alias, ...]
    distribution: str | None = None
    packages: tuple[str, ...] = ()
    tested: tuple[str, str] | None = None
    note: str = ""

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
