"""Two kept results side by side: what became faster or slower, beyond the spread of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import CommandError
from .contestants import OURS, TORCH

KINDS = ("synchronised", "queued", "device")


def load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != 1 or "rows" not in data:
        raise CommandError(f"{path} is not a result of `mps-spectro-patch bench`")
    return data


def table(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Markdown. A time differs where the medians are further apart than both spreads together."""
    old = {row["key"]: row for row in before["rows"]}
    new = {row["key"]: row for row in after["rows"]}
    lines = [
        f"a: {_where(before)}", f"b: {_where(after)}", "",
        "| case | op | " + " | ".join(f"{kind}: a -> b" for kind in KINDS) + " | torch's own, queued: a -> b |",
        "|---" * (len(KINDS) + 3) + "|",
    ]  # fmt: skip
    counts = {"faster": 0, "slower": 0}
    for key, row in new.items():
        if key not in old:
            continue
        cells = []
        for kind in KINDS:
            cell, word = _change(old[key], row, OURS, kind)
            cells.append(cell)
            if word:
                counts[word] += 1
        cells.append(_change(old[key], row, TORCH, "queued")[0])
        lines.append(f"| {row['case']} | {row['op']} | " + " | ".join(cells) + " |")
    common = len(new.keys() & old.keys())
    lines += ["", f"{counts['faster']} times faster, {counts['slower']} times slower, in {common} cases"]
    for name, keys in (("a", old.keys() - new.keys()), ("b", new.keys() - old.keys())):
        lines += [f"only in {name}: {key}" for key in sorted(keys)]
    return "\n".join(lines)


def _where(data: dict[str, Any]) -> str:
    machine = data["machine"]
    return f"{machine['name']}, torch {machine['torch']}, mps_spectro_patch {machine['package']}, {machine['date']}"


def _change(old: dict, new: dict, who: str, kind: str) -> tuple[str, str]:
    one, other = (row["by"].get(who, {}).get(kind) for row in (old, new))
    if not one or not other:
        return "", ""
    apart, spread = other["median"] - one["median"], one["spread"] + other["spread"]
    word = "" if abs(apart) <= spread else "faster" if apart < 0 else "slower"
    text = f"{one['median']:.4f} -> {other['median']:.4f} ms"
    return (f"{text}, {one['median'] / other['median']:.2f}x {word}" if word else text), word
