"""compute-sanitizer's four tools over every kernel, on an NVIDIA GPU: writes benchmarks/results/nvidia-sanitizers.md.

    python benchmarks/sanitizers.py --write        # minutes; exit status 1 where a tool has something to say

Two programs run under each tool, each in parts, all side by side on the GPUs that are there: every kernel by every way
through its text, and the front ends.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "benchmarks" / "results" / "nvidia-sanitizers.md"
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
PROGRAMS = {
    "kernels, by every way": ["tests.kernels.exercise", "--device", "cuda", "--ways"],
    "front ends": ["tests.front_ends.exercise", "--device", "cuda"],
}
# cuda-bindings asks the driver for functions that it may not have, when it is imported: no kernel is concerned.
IMPORTED = "cuGetProcAddress"


def errors(printed: str) -> int | None:
    """What the tool counts, but for IMPORTED; None where it did not come to its summary."""
    summary = re.search(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", printed)
    if summary is None:
        return None
    return int(summary[1] or summary[2]) - len(re.findall(rf"Program hit .* on CUDA API call to {IMPORTED}", printed))


def run(parts: int, gpus: list[str]) -> dict[tuple[str, str], int | None]:
    """By tool and program: errors. gpus: as CUDA_VISIBLE_DEVICES names them."""
    keys = [(tool, name, part) for part in range(parts) for name in PROGRAMS for tool in TOOLS]
    started = {}
    for number, (tool, name, part) in enumerate(keys):
        program = [sys.executable, "-m", *PROGRAMS[name], "--part", f"{part}/{parts}"]
        started[tool, name, part] = subprocess.Popen(
            ["compute-sanitizer", "--tool", tool, "--print-limit", "1000", *program], cwd=ROOT, text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    found: dict[tuple[str, str], int | None] = {(tool, name): 0 for tool in TOOLS for name in PROGRAMS}
    for (tool, name, part), process in started.items():
        printed, _ = process.communicate()
        counted, before = errors(printed) if "exercised" in printed else None, found[tool, name]
        found[tool, name] = None if counted is None or before is None else before + counted
        if counted != 0:
            print(f"{tool}, {name}, part {part}:\n{printed[-3000:]}", file=sys.stderr)
    return found


def page(found: dict[tuple[str, str], int | None], device: str, digest: str, tool: str = "") -> str:
    version = re.search(r"Version (\S+)", tool)
    lines = [
        "# Memory and races: every kernel under compute-sanitizer", "",
        f"Metal text {digest}. {device}, compute-sanitizer {version[1] if version else ''}, "
        f"Python {platform.python_version()}, {date.today()}. Made by `python benchmarks/sanitizers.py --write`.", "",
        "Errors, or for racecheck hazards; those of cuda-bindings, which asks the driver for functions that it does",
        "not have when it is imported, are not counted.", "",
        f"| tool | {' | '.join(PROGRAMS)} |", "|---" * (1 + len(PROGRAMS)) + "|",
    ]  # fmt: skip
    for name in TOOLS:
        counts = (found[name, program] for program in PROGRAMS)
        words = ("did not end" if count is None else str(count) for count in counts)
        lines.append(f"| {name} | {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, help="the page")
    parser.add_argument("--parts", type=int, default=2, help="of each program, side by side")
    options = parser.parse_args()
    import torch

    from mps_spectro_patch.kernels import text_digest

    gpus = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    found = run(options.parts, gpus.split(","))
    tool = subprocess.run(["compute-sanitizer", "--version"], capture_output=True, text=True).stdout
    text = page(found, torch.cuda.get_device_name(), text_digest(), tool)
    if options.write:
        options.write.write_text(text)
    print(text)
    return int(any(count != 0 for count in found.values()))


if __name__ == "__main__":
    sys.exit(main())
