"""Names, constants and arithmetic of a function: for feature tests that must tell a formula from similar ones."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Collection
from types import CodeType, ModuleType
from typing import Any, NamedTuple

_SIGNS = {  # of Python 3.10, which has an instruction for each
    "ADD": "+", "SUBTRACT": "-", "MULTIPLY": "*", "TRUE_DIVIDE": "/", "FLOOR_DIVIDE": "//", "MODULO": "%",
    "POWER": "**", "MATRIX_MULTIPLY": "@",
}  # fmt: skip


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


def arithmetic_of(function: Callable) -> tuple[str, ...]:
    """The signs of a function's arithmetic in the order of its code ("+", "-", "//", ...; "negative" for a minus in
    front), and "tuple" where it returns several values. Those that change a variable in place count as others do."""
    found = []
    before = ""
    for one in dis.get_instructions(inspect.unwrap(function).__code__):
        kind, _, name = one.opname.partition("_")
        if one.opname == "BINARY_OP":
            found.append(one.argrepr.removesuffix("="))
        elif kind in ("BINARY", "INPLACE") and name in _SIGNS:
            found.append(_SIGNS[name])
        elif one.opname == "UNARY_NEGATIVE":
            found.append("negative")
        elif one.opname == "RETURN_VALUE" and before == "BUILD_TUPLE":
            found.append("tuple")
        before = one.opname
    return tuple(sign for sign in found if sign != "[]")  # Python 3.14 has no other instruction for brackets


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
