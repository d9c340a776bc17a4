"""How far a run is, on stderr: rich's bar where rich is installed and somebody watches, else plain lines."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

LINES = 12  # about as many when nobody watches: the output may be a log


class Progress:
    """`with Progress(total) as progress: progress.step("what is next")`, once for each of `total` steps."""

    def __init__(self, total: int, file: TextIO | None = None) -> None:
        self.total, self.done = total, 0
        self.file = file or sys.stderr
        self._start = time.perf_counter()
        self._bar: Any = None
        if self.file.isatty():
            try:
                from rich.console import Console
                from rich.progress import Progress as Bar
            except ImportError:
                return
            self._bar = Bar(console=Console(file=self.file), transient=True, redirect_stdout=False)
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def step(self, what: str) -> None:
        self.done += 1
        words = f"{self.done}/{self.total}, {time.perf_counter() - self._start:.0f} s: {what}"
        if self._bar:
            self._bar.update(self._task, completed=self.done - 1, description=what)
        elif self.file.isatty():
            print(f"\r\033[K{words}", end="", file=self.file, flush=True)
        elif self.done == 1 or self.done * LINES // self.total > (self.done - 1) * LINES // self.total:
            print(words, file=self.file, flush=True)

    def say(self, line: str) -> None:
        """A line on stdout, which may be another file."""
        self._clear()
        print(line, flush=True)
        if self._bar:
            self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._clear()

    def _clear(self) -> None:
        if self._bar:
            self._bar.stop()
        elif self.file.isatty():
            print("\r\033[K", end="", file=self.file, flush=True)
