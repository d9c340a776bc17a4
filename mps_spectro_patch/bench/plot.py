"""Results as a picture: how many times as fast as torch, and which part of the copy rate, for every case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import tables


def draw(data: dict[str, Any], file: Path) -> bool:
    """False without matplotlib, or with nothing to draw."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = [row for row in data["rows"] if tables.factor(row, "synchronised")]
    if not rows:
        return False
    names = [f"{row['op']}  {row['case']}" for row in rows]
    figure = Figure(figsize=(13, 1.8 + 0.22 * len(rows)), layout="constrained")
    speed, share = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    heights = range(len(rows))
    for kind, shift in (("synchronised", -0.22), ("device", 0.22)):
        found = [tables.factor(row, kind) or (tables.factor(row, "queued") if kind == "device" else 0) for row in rows]
        label = kind if any(tables.factor(row, kind) for row in rows) else "queued"
        speed.barh([height + shift for height in heights], found, 0.4, label=label)
    speed.axvline(1, color="black", linewidth=1)
    speed.set(xlabel="times as fast as torch", yticks=heights, yticklabels=names)
    speed.tick_params(axis="y", labelsize=7)
    speed.invert_yaxis()
    speed.legend()
    copy = data["copy_rate"] or float("inf")
    share.barh(heights, [(tables.rate(row) or 0) / copy for row in rows], 0.6, color="tab:green")
    share.axvline(1, color="black", linewidth=1)
    share.set(xlabel=f"of the copy rate ({data['copy_rate']:.0f} GB/s)")
    figure.suptitle(f"{data['machine']['name']}, torch {data['machine']['torch']}, {data['machine']['date']}")
    figure.savefig(file, dpi=100)
    return True
