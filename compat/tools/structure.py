"""The names and constants in a function's code: for feature tests that must tell a formula from similar ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import CodeType
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
    texts = [constant for constant in code.co_consts if isinstance(constant, tuple)]
    constants = frozenset(_single(code.co_consts)) - {inner.__doc__}
    return Structure(
        code.co_varnames[: code.co_argcount],
        code.co_names,
        frozenset(text for one in texts for text in one if isinstance(text, str)),
        constants,
    )


def _single(constants: tuple) -> Iterator[Any]:
    for constant in constants:
        if isinstance(constant, (int, float, complex, str)) and not isinstance(constant, bool):
            yield constant
