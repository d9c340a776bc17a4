"""What sources have in common: the text without its whole numbers, which are what another size changes.

A text is rewritten once per shape, and its numbers put into the result; a declaration's shape says whether the
syntax tree of one like it was looked at. Numbers of buffers stay in a shape, as the bindings are looked at with it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .rewriting import Kernel, Rewritten, rewrite

_NUMBER = re.compile(r"(?<![\w.])(?<!buffer\()\d+(?![\w.])")
_PLACE = re.compile(r"(?<![\w.])9(\d{8})(?![\w.])")  # nine digits, which no number of ours has
_END = re.compile(r"^}", re.MULTILINE)  # of a declaration, in the layout that the kernels have
_MARKERS = re.compile(r"^(?:#.*|[ \t]*)\n", re.MULTILINE)


def shape(preprocessed: str) -> tuple[str, list[str]]:
    """The text with a place for every number, and the numbers."""
    numbers = _NUMBER.findall(preprocessed)
    places = iter(range(900_000_000, 900_000_000 + len(numbers)))
    return _NUMBER.sub(lambda _: str(next(places)), preprocessed), numbers


def declarations(preprocessed: str) -> set[str]:
    """The shapes of what stands at program scope."""
    return set(_END.split(_NUMBER.sub("0", _MARKERS.sub("", preprocessed))))


class Mould:
    """A shape that is rewritten, for texts that have it."""

    def __init__(self, shaped: str) -> None:
        self._rewritten = rewrite(shaped)
        self.findings = self._rewritten.findings

    def fill(self, numbers: list[str]) -> Rewritten:
        """What rewrite() makes of the text with these numbers."""

        def filled(text: str) -> str:
            return _PLACE.sub(lambda place: numbers[int(place[1])], text)

        def of_kernel(kernel: Kernel) -> Kernel:
            return replace(kernel, attributes={name: filled(value) for name, value in kernel.attributes.items()})

        kernels = [of_kernel(kernel) for kernel in self._rewritten.kernels]
        return replace(self._rewritten, text=filled(self._rewritten.text), kernels=kernels)
