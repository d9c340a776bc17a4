"""The table that report() returns: data, and how it is printed, by rich where that is installed, else plainly."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple, TextIO

from ..reasons import ADVICE, Reason

_WIDTH = 200  # of files and pipes
_TABLE_WIDTH = 120  # of a terminal, below which the columns would be too narrow to read
_HEADINGS = ("calls", "where", "function", "op", "arguments", "device", "went", "ms each")


class Row(NamedTuple):
    """Calls that are alike. outcome: "fast", the name of a reason for the original, or "raised"."""

    place: str
    function: str
    op: str
    arguments: str
    device: str
    outcome: str
    calls: int
    estimated: bool
    seconds: float

    @property
    def fast(self) -> bool:
        return self.outcome == "fast"

    def cells(self) -> tuple[str, ...]:
        each = f"{self.seconds / self.calls * 1e3:.3f}" if self.seconds and not self.estimated else ""
        place = self.place
        with contextlib.suppress(ValueError):  # another drive
            place = min(place, os.path.relpath(place), key=len)
        calls = f"~{self.calls}" if self.estimated else str(self.calls)
        return calls, place, self.function, self.op, self.arguments, self.device, self.outcome, each


class Table:
    """Rows of report(). left_out: calls from more kinds of lines than are kept. problem: why there are no rows."""

    def __init__(self, rows: tuple[Row, ...], left_out: int = 0, problem: str = "") -> None:
        self.rows, self.left_out, self.problem = rows, left_out, problem

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        if not self.rows:
            return self.problem or "no calls of torch.stft or torch.istft were seen"
        cells = [_HEADINGS, *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
        return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:], *self._notes()])

    def print(self, file: TextIO) -> None:
        """Writes the table to `file`, by rich if it is there."""
        try:
            import rich.console
            import rich.markup
            import rich.table
        except ImportError:
            rich = None
        if rich is None or not self.rows:
            print(self, file=file)
            return
        console = rich.console.Console(file=file, width=None if file.isatty() else _WIDTH)
        if console.width < _TABLE_WIDTH:
            for line in self._lines():
                console.print(line, markup=False, highlight=False)
            return
        table = rich.table.Table(title="calls of torch.stft and torch.istft", title_justify="left")
        for heading in _HEADINGS:
            table.add_column(heading, justify="right" if heading in ("calls", "ms each") else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*map(rich.markup.escape, row.cells()), style="green" if row.fast else "yellow")
        console.print(table)
        for note in self._notes():
            console.print(note, markup=False, highlight=False)

    def _lines(self) -> Iterator[str]:
        """Two lines for each row, for a narrow terminal."""
        for row in self.rows:
            calls, place, function, op, arguments, device, went, each = row.cells()
            yield f"{calls} x {op} on {device}: {went}{f', {each} ms each' if each else ''}"
            yield f"    {place} in {function}: {arguments}"
        yield from self._notes()

    def _notes(self) -> list[str]:
        reasons = sorted({row.outcome for row in self.rows} & set(map(str, Reason)))
        notes = [f"{reason}: {Reason(reason).words}; to make it fast: {ADVICE[Reason(reason)]}" for reason in reasons]
        if any(row.estimated for row in self.rows):
            notes.append("~ estimated from a sample; watch_calls() counts every call")
        if self.left_out:
            notes.append(f"and {self.left_out} calls from other lines")
        return notes
