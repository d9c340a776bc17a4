"""`mps-spectro-patch doctor --first-run`: all that one run on a machine tells, for those who have no such machine.

First every kernel is compiled, before anything else has done that, and once more in another process, which finds what
the system keeps of it. Then come doctor's checks, and the times of the seed package's cases beside the prediction. All
of it goes into one JSON file, and what people read into one page that fits into an issue.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from .. import kernels
from ..bench import Accelerator, Progress, markdown, results_folder, tables, time_seeds_cases
from ..execution import best_device, require_device, tuning
from ..kernels import text_digest
from ..version import __version__
from . import doctor
from .patch_status import status

PAGE_LIMIT = 60_000  # characters: an issue takes 65,536
_LINE_LIMIT, _FAILED_LIMIT = 300, 12  # of what is said of one failure, and how many of a finding
_PROPERTIES = {
    "max_threads": "max_threads_per_threadgroup", "simd_width": "thread_execution_width",
    "threadgroup_bytes": "static_thread_group_memory_length",
}  # fmt: skip


def run_first(device: str | None, folder: Path) -> int:
    """The command: 0 if healthy, else 1. Raises CommandError for a device that torch does not find, and for a folder
    that cannot be written to."""
    device = device or best_device()
    require_device(device)
    stem = f"{Accelerator(device).name().lower().replace(' ', '-')}-first-run"
    files = folder / f"{stem}.json", folder / f"{stem}.md"
    with results_folder(folder, files):
        data = measured(device)
        text = page(data)
        files[0].write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")
        files[1].write_text(text, encoding="utf-8")
    print(text)
    print("written", *files, "Please open an issue: the page as its text, the JSON file attached.", sep="\n  ")
    return 0 if data["healthy"] else 1


def measured(device: str) -> dict[str, Any]:
    """Everything. A part that fails is told under "errors", and the rest goes on."""
    errors: list[str] = []

    def attempt(what: str, act: Callable[[], Any]) -> Any:
        progress.step(what)
        try:
            return act()
        except Exception as error:
            errors.append(f"{what}: {type(error).__name__}: {str(error)[:2000]}")
            return None

    with Progress(len(doctor.CHECKS) + 3) as progress:
        cold = attempt("the first compile of every kernel", lambda: compiled(device))
        warm = attempt("the same in another process", lambda: _compiled_elsewhere(device))
        with tuning.ignored():
            findings = list(doctor.examine(device, device != "simulator", progress.step))
        times = attempt("the seed package's cases", lambda: time_seeds_cases(device))
    wrong = [finding for finding in findings if finding.ok is False]
    return {
        "format": 1, "device": device, "name": Accelerator(device).name(), "torch": torch.__version__,
        "package": __version__, "metal_text": text_digest(), "date": time.strftime("%Y-%m-%d"),
        "healthy": not wrong and not errors, "verdict": doctor.verdict(device, wrong), "errors": errors,
        "findings": list(map(vars, findings)), "kernels": {"cold": cold or [], "warm": warm or []}, "bench": times,
        "status": str(status()),
    }  # fmt: skip


def compiled(device: str) -> list[dict[str, Any]]:
    """Of every kernel: milliseconds until it can be launched, and its pipeline's properties, or why it failed."""
    return [_compiled(device, *source) for source in doctor.sources(device != "simulator")]


def _compiled(device: str, what: str, name: str, source: str, threads: int) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "kernel": name, "threads": threads}
    begin = time.perf_counter()
    try:
        kernel = getattr(kernels.compile_shader(source, device), name)
        row["ms"] = round(1e3 * (time.perf_counter() - begin), 3)
        row.update({short: int(getattr(kernel, long)) for short, long in _PROPERTIES.items()})
    except Exception as error:
        row["failed"] = f"{type(error).__name__}: {str(error)[:2000]}"
    return row


def _compiled_elsewhere(device: str) -> list[dict[str, Any]]:
    code = f"import json; from {__name__} import compiled; print(json.dumps(compiled({device!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def page(data: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"# First run: {data['name']}, torch {data['torch']}, mps_spectro_patch {data['package']}, {data['date']}", "",
        data["verdict"], "", *(f"* {_short(error)}" for error in data["errors"]), "", "```",
        *(line for finding in data["findings"] for line in _of_finding(finding)), "```", "", "## Kernels", "",
        f"Metal text {data['metal_text']}. Milliseconds until a kernel can be launched, median (largest): cold, as the "
        "machine met it in this run, and warm, in a process behind it. threads: of a threadgroup, as planned.", "",
        *_families(data["kernels"]),
    ]  # fmt: skip
    if data["bench"]:
        times = tables.markdown(data["bench"]).splitlines()
        lines += ["", "## Times", *(f"#{line}" if line.startswith("## ") else line for line in times[1:])]
    text = "\n".join(lines) + "\n"
    return text if len(text) <= PAGE_LIMIT else f"{text[:PAGE_LIMIT]}\n\nThe rest is in the JSON file.\n"


def _of_finding(finding: dict[str, Any]) -> list[str]:
    mark = {True: "ok  ", False: "BAD ", None: "    "}[finding["ok"]]
    failed = finding["data"].get("failed", ())
    lines = [f"{mark} {finding['check']}: {_short(finding['words'])}"]
    lines += [f"       {_short(what)}" for what in failed[:_FAILED_LIMIT]]
    return lines + [f"       and {len(failed) - _FAILED_LIMIT} more"] * (len(failed) > _FAILED_LIMIT)


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= _LINE_LIMIT else f"{words[:_LINE_LIMIT]} ..."


def _families(measured: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line for each kernel by name, whatever the sizes it is compiled for."""
    rows = []
    for name in dict.fromkeys(row["kernel"] for row in measured["cold"]):
        cold, warm = ([row for row in measured[when] if row["kernel"] == name] for when in ("cold", "warm"))
        right = [row for row in cold if "failed" not in row]
        rows.append([
            name, f"{len(right)} of {len(cold)}", _times(cold), _times(warm), _range(row["threads"] for row in cold),
            *(_range(row[key] for row in right) for key in _PROPERTIES),
        ])  # fmt: skip
    return markdown.table(["kernel", "compile", "cold", "warm", "threads", *_PROPERTIES], rows)


def _times(rows: list[dict[str, Any]]) -> str:
    times = [row["ms"] for row in rows if "ms" in row]
    return f"{statistics.median(times):.1f} ({max(times):.1f})" if times else ""


def _range(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]} to {found[-1]}" if len(found) > 1 else "".join(map(str, found))
