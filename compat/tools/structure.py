"""The names and constants in a function's code: for feature tests that must tell a formula from similar ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from types import CodeType, ModuleType
from typing import Any, NamedTuple


class Structure(NamedTuple):
    """names: globals and attributes, in the order of their first use. keywords: names of keyword arguments of calls.
    constants: numbers and texts, less the docstring. (Python may keep small integers out of the latter.)"""

    parameters: tuple[str, ...]
    names: tuple[str, ...]
    keywords: frozenset[str]
    constants: frozenset[Any]


def structure_of(function: Callable) -> Structure:
    """The structure of the function below all decorators; empty if it is not written in Python."""
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if not isinstance(code, CodeType):
        return Structure((), (), frozenset(), frozenset())
    texts = [text for constant in code.co_consts if isinstance(constant, tuple) for text in constant]
    constants = {one for one in code.co_consts if isinstance(one, (int, float, complex, str)) and type(one) is not bool}
    return Structure(
        code.co_varnames[: code.co_argcount],
        code.co_names,
        frozenset(text for text in texts if isinstance(text, str)),
        frozenset(constants - {inner.__doc__}),
    )


def structure_in(module: ModuleType, attribute: str) -> Structure | None:
    """That of "Class.method", or None if the class itself has no such method."""
    name, method = attribute.split(".")
    function = vars(getattr(module, name, object)).get(method)
    return None if function is None else structure_of(function)


def lacks_names(attribute: str, names: Collection[str]) -> Callable[[ModuleType], str | None]:
    """The feature test of a method in whose code are just these names."""

    def lacks(module: ModuleType) -> str | None:
        structure = structure_in(module, attribute)
        if structure is None:
            return f"it has no {attribute}"
        other = sorted(set(names) ^ set(structure.names))
        return f"{attribute} {'uses' if other[0] in structure.names else 'has no'} {other[0]}" if other else None

    return lacks
