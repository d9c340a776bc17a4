"""Results as Markdown: one table per kind of case, peers beside each other, first calls, dispatch, the sweep."""

from __future__ import annotations

from typing import Any

from . import prediction, sweep
from .cases import TABLES, cases
from .contestants import OURS, TORCH
from .markdown import table

KINDS = ("synchronised", "queued", "device")
WORDS = (
    "Milliseconds, torch's own -> this package (how many times as fast), median and distance of the quartiles. "
    "synchronised: one call from Python, waited for. queued: calls one after the other, per call. device: without the "
    "program. GB/s: inputs once plus outputs once over the device's time (else the queued one). error: relative L2 "
    "against float64; of logarithms the largest difference. memory: a call's peak, its result included."
)


def markdown(data: dict[str, Any]) -> str:
    lines = [
        f"# {where(data)}", "",
        f"Copy on the device, in the same run: {data['copy_rate']:.0f} GB/s (read and written). {WORDS}",
    ]  # fmt: skip
    if data.get("note"):
        lines += ["", data["note"]]
    if data["machine"]["device"] == "simulator":
        lines += ["", "The simulator runs the kernels on the CPU, over shrunk inputs: its times mean nothing."]
    for name, title in TABLES.items():
        rows = [row for row in data["rows"] if row["table"] == name]
        if rows:
            lines += ["", f"## {title}", "", *_table(rows, data)]
    for title, key, section in (
        ("Peers", "rows", _peers), ("First calls and new lengths", "first_calls", _firsts),
        ("Dispatch profile", "dispatch", _dispatch), ("Sweep", "sweep", _sweep),
    ):  # fmt: skip
        part = section(data[key]) if data.get(key) else []
        if part:
            lines += ["", f"## {title}", "", *part]
    failures = _failures(data)
    if failures:
        lines += ["", "## What failed", "", *failures]
    return "\n".join(lines) + "\n"


def where(data: dict[str, Any]) -> str:
    """On which machine, with which versions, when."""
    machine = data["machine"]
    return f"{machine['name']}, torch {machine['torch']}, mps_spectro_patch {machine['package']}, {machine['date']}"


def times(row: dict[str, Any], who: str, kind: str) -> Any:
    """What was measured; None where nothing was."""
    return row["by"].get(who, {}).get(kind)


def factor(row: dict[str, Any], kind: str) -> float | None:
    """How many times as fast as torch this package is."""
    theirs, ours = times(row, TORCH, kind), times(row, OURS, kind)
    return theirs["median"] / ours["median"] if theirs and ours and ours["median"] else None


def device_time(times: dict[str, Any]) -> float:
    """Milliseconds on the device, or queued where there is no such clock."""
    return (times.get("device") or times["queued"])["median"]


def rate(row: dict[str, Any]) -> float | None:
    """GB/s of this package."""
    ours = row["by"].get(OURS)
    return row["bytes"] / device_time(ours) / 1e6 if ours and device_time(ours) else None


def _table(rows: list[dict], data: dict[str, Any]) -> list[str]:
    kinds = [kind for kind in KINDS if any(times(row, OURS, kind) for row in rows)]
    heads = ["case", "op", *kinds, "GB/s", "of the copy rate", "error", "memory, MB", "published, M4 Max"]
    is_apple = data["machine"]["device"] == "mps"
    chip = prediction.chip(data["machine"]["name"])
    if is_apple:
        heads.append(f"predicted, {chip.name if chip else 'from the copy rate'}")
    lines = []
    for row in rows:
        speed = rate(row)
        share = f"{100 * speed / data['copy_rate']:.0f} %" if speed and data["copy_rate"] else ""
        error = f"{row['error']:.1e}" if row["error"] is not None else ""
        cells = [row["case"], row["op"], *(_pair(row, kind) for kind in kinds), f"{speed:.0f}" if speed else "", share]
        cells += [error, _memory(row), prediction.published(row["published"])]
        lines.append([*cells, _predicted(row, data, chip)] if is_apple else cells)
    return table(heads, lines)


def _pair(row: dict[str, Any], kind: str) -> str:
    theirs, ours, gain = times(row, TORCH, kind), times(row, OURS, kind), factor(row, kind)
    return f"{_time(theirs)} -> {_time(ours)} ({gain:.2f}x)" if gain else _time(theirs)


def _time(time: dict[str, float] | None) -> str:
    if not time:
        return ""
    return f"{time['median']:.4f}" + (f" ±{time['spread']:.4f}" if time["count"] > 1 else "")


def _memory(row: dict[str, Any]) -> str:
    theirs, ours = times(row, TORCH, "memory"), times(row, OURS, "memory")
    return f"{theirs / 1e6:.1f} -> {ours / 1e6:.1f}" if theirs is not None and ours is not None else ""


def _predicted(row: dict[str, Any], data: dict[str, Any], chip: prediction.Chip | None) -> str:
    """Beside the measured synchronised time; of an unknown chip from its copy rate, arithmetic aside."""
    case = next((case for case in cases() if case.key == row["key"]), None)
    if case is None:
        return ""
    if chip:
        return f"{prediction.predicted(case, chip):.2f}"
    return f"{prediction.FIXED + case.bytes_moved / data['copy_rate'] / 1e6:.2f}"


def _peers(rows: list[dict]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row["by"]))
    if not set(names) - {TORCH, OURS}:
        return []
    lines = []
    for row in rows:
        if len(row["by"]) <= 2 or OURS not in row["by"]:
            continue
        ours = device_time(row["by"][OURS])
        cells = [row["case"], row["op"]]
        for name in names:
            found = row["by"].get(name)
            gain = f" ({device_time(found) / ours:.1f}x)" if found and name != OURS and ours else ""
            cells.append(f"{device_time(found):.4f}{gain}" if found else "")
        lines.append(cells)
    words = (
        "On the device where there is such a clock, else queued; behind the peers how many times as fast ours is. The "
        "seed approach is that package's way, built again from its description (bench/seed_approach.py)."
    )
    return [words, "", *table(["case", "op", *names], lines)]


def _firsts(rows: list[dict]) -> list[str]:
    lines = []
    for row in rows:
        theirs, ours = row["by"][TORCH], row["by"][OURS]
        cells = [row["case"], row["op"], f"{theirs['first']:.2f} -> {ours['first']:.2f}"]
        cells += [f"{theirs[kind]['median']:.3f} -> {ours[kind]['median']:.3f}" for kind in ("new_length", "again")]
        lines.append(cells)
    heads = ["case", "op", "first call", "first call of a new length", "the same again"]
    return ["Milliseconds, torch's own -> this package.", "", *table(heads, lines)]


def _dispatch(rows: list[dict]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row["by"]))
    lines = []
    for row in rows:
        cells = [row["case"], row["op"]]
        for name in names:
            one = row["by"].get(name)
            count = f", {one['launches']:.0f}" if one and one["launches"] is not None else ""
            cells.append(f"{one['host']['median']:.1f} ±{one['host']['spread']:.1f}{count}" if one else "")
        lines.append([*cells, f"{row['routing']:.1f}" if row["routing"] is not None else ""])
    heads = ["case", "op", *(f"{name}: host, launches" for name in names), "ours: of that, routing"]
    words = (
        "Microseconds until the call returns, nothing waited for, and launches (where no profiler counts them, torch's "
        "operators)."
    )
    return [words, "", *table(heads, lines)]


def _sweep(rows: list[dict]) -> list[str]:
    lines = []
    for row in rows:
        pairs = [_pair(row, kind) for kind in sweep.KINDS]
        lines.append([row["op"], str(row["n_fft"]), str(row["frames"]), f"{row['bytes'] / 1e6:.3f}", *pairs])
    heads = ["op", "n_fft", "frames", "MB", *sweep.KINDS]
    return [*(f"* {line}" for line in sweep.verdict(rows)), "", *table(heads, lines)]


def _failures(data: dict[str, Any]) -> list[str]:
    lines = [f"* {name} is left out: {why}" for name, why in data.get("missing", {}).items()]
    lines += [f"* {error}" for error in data.get("errors", [])]
    for row in data["rows"]:
        lines += [f"* {row['case']} {row['op']}, {name}: {why}" for name, why in row["failed"].items()]
    return lines
