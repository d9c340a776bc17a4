"""Names in other modules that were bound to torch's functions early: `from torch import stft` before enable().

Finds them in sys.modules, and functools.partial objects wherever they are, and replaces them for reach="references".
Functions that are bound elsewhere (default arguments, dictionaries, attributes of objects) are not found.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple


class Reference(NamedTuple):
    """A module-level name that is bound to a function of ours or of torch's."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def bound_to(*functions: Callable) -> list[Reference]:
    """Every module-level name outside of torch and this package that is bound to one of the functions."""
    return [
        Reference(module, name)
        for module, namespace in namespaces()
        for name, value in list(namespace.items())
        if any(value is function for function in functions)
    ]


def rebind(before: Callable, after: Callable) -> None:
    """Binds every name and every partial that is bound to `before` to `after`. By identity: others are left alone."""
    for reference in bound_to(before):
        namespace = _namespace(sys.modules.get(reference.module))
        if namespace.get(reference.name) is before:
            namespace[reference.name] = after
    for one in partials_of(before):
        _, _, (_, args, keywords, attributes) = functools.partial.__reduce__(one)
        functools.partial.__setstate__(one, (after, args, keywords, attributes))


def partials_of(*functions: Callable) -> list[functools.partial]:
    """The functools.partial objects of the functions, as far as the garbage collector knows them."""
    return [
        one
        for one in gc.get_referrers(*functions)
        if issubclass(type(one), functools.partial) and any(one.func is function for function in functions)
    ]


def namespaces() -> Iterator[tuple[str, dict]]:
    seen = set()
    for name, module in list(sys.modules.items()):
        namespace = _namespace(module)
        if name.partition(".")[0] not in ("torch", "mps_spectro_patch") and id(namespace) not in seen:
            seen.add(id(namespace))  # one module may be known by two names
            yield name, namespace


def _namespace(module: object) -> dict:
    """The module's names, without triggering the import of a lazy module."""
    return object.__getattribute__(module, "__dict__") if isinstance(module, ModuleType) else {}
