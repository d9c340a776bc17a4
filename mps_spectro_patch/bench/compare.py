"""Two kept results side by side: what became faster or slower, beyond the spread of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import CommandError
from . import markdown
from .contestants import OURS, TORCH
from .tables import KINDS, times, where


def load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(f"{path} is not JSON: {error}") from None
    try:
        if data["format"] == 1:
            table(data, data)
            return data
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError):  # anything can be in a file
        pass
    raise CommandError(f"{path} is not a result of `mps-spectro-patch bench`")


def table(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Markdown. A time differs where the medians are further apart than both spreads together."""
    old, new = ({row["key"]: row for row in data["rows"]} for data in (before, after))
    common = [key for key in new if key in old]
    counts = {"faster": 0, "slower": 0, "": 0}
    rows = []
    for key in common:
        cells = [new[key]["case"], new[key]["op"]]
        for kind in KINDS:
            cell, word = _change(old[key], new[key], OURS, kind)
            cells.append(cell)
            counts[word] += 1
        rows.append([*cells, _change(old[key], new[key], TORCH, "queued")[0]])
    heads = ["case", "op", *(f"{kind}: a -> b" for kind in KINDS), "torch's own, queued: a -> b"]
    lines = [f"a: {where(before)}", f"b: {where(after)}", "", *markdown.table(heads, rows), ""]
    lines += [f"{counts['faster']} times faster, {counts['slower']} times slower, in {len(common)} cases"]
    for name, keys in (("a", old.keys() - new.keys()), ("b", new.keys() - old.keys())):
        lines += [f"only in {name}: {key}" for key in sorted(keys)]
    return "\n".join(lines)


def _change(old: dict, new: dict, who: str, kind: str) -> tuple[str, str]:
    one, other = (times(row, who, kind) for row in (old, new))
    if not one or not other:
        return "", ""
    apart, spread = other["median"] - one["median"], one["spread"] + other["spread"]
    word = "" if abs(apart) <= spread else "faster" if apart < 0 else "slower"
    text = f"{one['median']:.4f} -> {other['median']:.4f} ms"
    return (f"{text}, {one['median'] / other['median']:.2f}x {word}" if word else text), word
