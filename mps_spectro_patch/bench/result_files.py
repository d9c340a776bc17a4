"""Where a command that works for minutes puts its results: whether it can is seen before the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import CommandError


@contextlib.contextmanager
def results_folder(folder: Path, files: Iterable[Path]) -> Iterator[None]:
    """Makes the folder, which goes again if nothing is written to it. Raises CommandError if one of the files cannot be
    written there."""
    is_new = not folder.exists()
    _try(f"cannot make the folder {folder}", lambda: folder.mkdir(parents=True, exist_ok=True))
    try:
        for file in files:
            _try(f"cannot write {file}", lambda file=file: _touch(file))
        yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


def _touch(file: Path) -> None:
    is_new = not file.exists()
    open(file, "ab").close()
    if is_new:
        file.unlink()


def _try(words: str, act) -> None:
    try:
        act()
    except OSError as error:
        raise CommandError(f"{words}: {error.strerror}") from None
