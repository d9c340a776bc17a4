"""Which tests are of the first tier, whose verdict comes within minutes, and which of the second, marked `thorough`.

The first tier takes every value of every parameter of a test at least once; the second their other combinations, and
what a test marks itself: a long list of sizes beyond one of every kind, say. Together they are all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import pytest

FIRST, SECOND = "not thorough", "thorough"  # as pytest's -m; the first is its default in pyproject.toml


def one_of_each(values: Iterable[Any], kind: Callable[[Any], Hashable]) -> list[Any]:
    """Values for parametrize: the first one of every kind is for the first tier."""
    seen: set[Hashable] = set()
    return [
        value if _is_new(kind(value), seen) else pytest.param(value, marks=pytest.mark.thorough) for value in values
    ]


def some(values: Iterable[Any], first: Iterable[Any]) -> list[Any]:
    """Values for parametrize: those of `first` are for the first tier."""
    values, first = list(values), list(first)
    assert all(value in values for value in first)
    return [value if value in first else pytest.param(value, marks=pytest.mark.thorough) for value in values]


def _is_new(kind: Hashable, seen: set[Hashable]) -> bool:
    is_new = kind not in seen
    seen.add(kind)
    return is_new


@pytest.hookimpl(tryfirst=True)  # before pytest looks at marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("thorough") is None and hasattr(item, "callspec"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tests.values():
        values = [set(_values(case)) for case in cases]
        for number in set(range(len(cases))) - covering(values):
            cases[number].add_marker(pytest.mark.thorough)


def _values(case: pytest.Item) -> Iterator[tuple[str, tuple[int, ...]]]:
    """By parameter: which value it has. Parameters that one parametrize() names together are one."""
    given = case.callspec.params
    together = [mark.args[0] if mark.args else mark.kwargs["argnames"] for mark in case.iter_markers("parametrize")]
    groups = [names.replace(",", " ").split() if isinstance(names, str) else list(names) for names in together]
    groups += [[name] for name in given if not any(name in group for group in groups)]  # of fixtures
    for group in groups:
        yield ",".join(group), tuple(id(given[name]) for name in group)  # of one test, each is one object


def covering(cases: Sequence[set[Hashable]]) -> set[int]:
    """Numbers of few cases that have, together, every value of all of them; of equals the first."""
    missing, chosen = set().union(*cases), set()
    while missing:
        best = max(range(len(cases)), key=lambda number: len(cases[number] & missing))
        chosen.add(best)
        missing -= cases[best]
    return chosen
