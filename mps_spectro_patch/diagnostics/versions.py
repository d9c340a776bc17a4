"""Comparing versions: which torch is needed, and whether a version is between two others."""

from __future__ import annotations

from itertools import takewhile

OLDEST_TORCH = "2.7"


def is_too_old(version: str) -> bool:
    """Whether this package needs a newer torch."""
    return numbers(version) < numbers(OLDEST_TORCH)


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for a comparison."""
    parts = version.split("+")[0].split(".")
    return tuple(map(int, takewhile(str.isdigit, parts)))
