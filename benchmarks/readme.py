"""Writes the README's tables of speed and the whole table from the kept results, and benchmarks/results/prediction.md.

    python benchmarks/readme.py            # rewrites what lies between the marks in README.md
    python benchmarks/readme.py --check    # exit status 1 if it says something else than the results

Results come from `python -m mps_spectro_patch bench --out benchmarks/results`.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

from mps_spectro_patch.bench import prediction, tables
from mps_spectro_patch.bench.cases import GRADIENTS
from mps_spectro_patch.bench.contestants import OURS, TORCH

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
KEPT = RESULTS / "nvidia-h200.json"
PREDICTION = RESULTS / "prediction.md"
BEGIN, END = "<!-- made by benchmarks/readme.py: begin -->", "<!-- made by benchmarks/readme.py: end -->"
OPS = ("stft", "istft", GRADIENTS["stft"], GRADIENTS["istft"])
SHAPES = [  # of all that are measured, those that the README shows
    (4, 160_000, 1024, 256), (4, 1_320_000, 1024, 256), (16, 1_320_000, 1024, 256), (2, 2_650_000, 2048, 512),
    (2, 2_650_000, 2048, 441), (2, 2_650_000, 4096, 1024), (2, 2_650_000, 6144, 1024), (2, 2_650_000, 7680, 1024),
    (2, 2_650_000, 8192, 1024), (64, 480_000, 400, 160),
]  # fmt: skip
FRONT_ENDS = ("log-mel", "mamba_amt", "Whisper 30 s", "MuQ 30 s, dB", "RMVPE keyshift +0", "RMVPE keyshift +3")


def block(data: dict[str, Any]) -> str:
    """What the README says of these results."""
    errors = [row["error"] for row in data["rows"] if row["op"] in OPS and row["error"] is not None]
    machine = data["machine"]
    text = (
        f"One {machine['name']}, torch {machine['torch'].split('+')[0]}, {machine['date']}. Times are milliseconds on "
        "the device, torch -> this package, for inputs larger than the cache of the GPU. In the same run a plain copy "
        f"on the device reached {data['copy_rate'] / 1000:.1f} TB/s. The relative error against float64 is "
        f"{min(errors):.1e} to {max(errors):.1e}. [The full table](benchmarks/results/{KEPT.stem}.md) also has the "
        f"times of calls as Python sees them. {data.get('note', '')}"
    )
    lines = [
        *textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False), "",
        "| signals | stft | istft | stft and gradient | istft and gradient |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for rows, samples, n_fft, hop in SHAPES:
        found = {
            row["op"]: row
            for row in data["rows"]
            if row["table"] in ("stft", "istft", "gradient")
            and (row["rows"], row["samples"], row["n_fft"], row["hop_length"]) == (rows, samples, n_fft, hop)
        }
        if found:
            cells = " | ".join(cell(found.get(op), "device") for op in OPS)
            lines.append(f"| {rows} x {samples:,} samples, n_fft {n_fft}, hop {hop} | {cells} |")
    lines += [
        "", "Mel front ends, compared with the same features computed by torch's own functions:", "",
        "| front end | signals | on the device | one call, measured in Python |", "|---|---|---|---|",
    ]  # fmt: skip
    for row in data["rows"]:
        name = row["case"].rpartition(" B")[0]  # in front of "B1 T160000 ..."
        if row["op"] == "log-mel" and name in FRONT_ENDS:
            signals = f"{row['rows']} x {row['samples']:,} samples, n_fft {row['n_fft']}"
            lines.append(f"| {name} | {signals} | {cell(row, 'device')} | {cell(row, 'synchronised')} |")
    return "\n".join(lines)


def cell(row: dict[str, Any] | None, kind: str) -> str:
    gain = tables.factor(row, kind) if row else None
    if not row or not gain:
        return ""
    theirs, ours = (row["by"][name][kind]["median"] for name in (TORCH, OURS))
    return f"{theirs:.3f} -> {ours:.3f} ({gain:.1f}x)"


def with_block(readme: str, text: str) -> str:
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    file = ROOT / "README.md"
    before = file.read_text(encoding="utf-8")
    data = json.loads(KEPT.read_text(encoding="utf-8"))
    wanted = {
        file: with_block(before, block(data)), KEPT.with_suffix(".md"): tables.markdown(data),
        PREDICTION: prediction.table(),
    }  # fmt: skip
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.name} {'is not what the results say' if check else 'written'}")
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
