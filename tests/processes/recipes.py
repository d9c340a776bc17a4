"""The recipes of docs/scaling.md, so that the tests run what stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def code(heading: str) -> str:
    """The one block of code in the section."""
    section = _PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (found,) = re.findall(r"^```(?:py)?\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return found


def command(heading: str) -> tuple[dict[str, str], list[str]]:
    """The variables and the words of the section's command, without its last: train.py."""
    words = shlex.split(code(heading))
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    words = words[len(variables) :]
    assert words[-1] == "train.py", words
    return variables, words[:-1]
