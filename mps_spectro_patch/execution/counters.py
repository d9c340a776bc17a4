"""Counts calls by the name of their function and by how they went: the one set of counters behind stats().

No lock is paid: threads may lose a call now and then.
"""

from __future__ import annotations

from collections import Counter

from ..options import OPS, logger
from ..pending import kept
from ..reasons import Reason
from . import call_sites


class Tally:
    """calls: so far. A cached call keeps its tally, so resetting sets it to zero and keeps the object."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


_tallies: dict[tuple[str, Reason | None], Tally] = kept(__name__, "tallies", {})
_agreed: Counter[str] = kept(__name__, "agreed", Counter())


def tally(name: str, reason: Reason | None) -> Tally:
    """Of the calls of one function that went one way; reason None: fast."""
    return _tallies.get((name, reason)) or _tallies.setdefault((name, reason), Tally())


def count(name: str, reason: Reason | None) -> None:
    """Counts a call, and tells report() how it went."""
    found = tally(name, reason)
    found.calls += 1
    call_sites.tell(reason)
    if found.calls == 1 and reason is not None:
        logger.info("%s goes to the original: %s (said once)", title(name), reason.words)


def count_agreed(name: str) -> None:
    """Counts a comparison with the original that found nothing wrong."""
    _agreed[name] += 1


def counts() -> dict[tuple[str, Reason | None], int]:
    """Calls by function and reason, as far as there were any."""
    return {key: found.calls for key, found in list(_tallies.items()) if found.calls}


def agreed() -> dict[str, int]:
    """Comparisons that found nothing wrong, by function."""
    return dict(_agreed)


def reset() -> None:
    for found in list(_tallies.values()):
        found.calls = 0
    _agreed.clear()


def title(name: str) -> str:
    """A counted function as people know it."""
    return f"torch.{name}" if name in OPS else name
