"""The command: which parts run, in which order, and where the results go."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import CommandError
from ..execution import best_device, check_device, tuning
from ..patching import disable
from . import compare, dispatch, firsts, measuring, plot, prediction, sweep, tables, timing
from .accelerator import Accelerator, machine
from .cases import SHAPES, TABLES, Case, cases, shrunk
from .contestants import IMPORTED, OURS, contestants, why_not
from .progress import Progress
from .result_files import results_folder


def run_bench(options: argparse.Namespace) -> int:
    """0, or 1 if something of ours failed. Raises CommandError for what a person can put right."""
    if options.compare:
        print(compare.table(*map(compare.load, options.compare)))
        return 0
    if options.predict:
        print(prediction.table())
        return 0
    device = options.device or best_device()
    check_device(device)
    chosen = _chosen(options, device)
    disable()  # MPS_SPECTRO_PATCH=1 would accelerate torch's own side, too
    accelerator = Accelerator(device)
    effort = timing.TINY if device == "simulator" else timing.QUICK if options.quick else timing.FULL
    missing = {name: why_not(name) for name in IMPORTED if why_not(name)} if options.peers else {}
    data = _empty(accelerator, effort, missing)
    with results_folder(options.out, _files(data, options.out)):
        try:
            with tuning.ignored():
                _measure(options, chosen, accelerator, effort, data)
        finally:  # of a run that is interrupted, too
            code = write(data, options.out, print)
    return code


def time_seeds_cases(device: str) -> dict[str, Any]:
    """What the seed package's tables time, as `bench --quick` does and as its JSON has it."""
    names = ("stft", "istft", "gradient", "roundtrip")
    chosen = [
        case for case in cases(names) if (case.rows, case.samples, case.n_fft, case.hop_length, case.quick) in SHAPES
    ]
    options = argparse.Namespace(tables=",".join(names), peers=False, sweep=False, dispatch_profile=False)
    if device == "simulator":
        chosen = list({small.key: small for small in map(shrunk, chosen)}.values())
    disable()
    accelerator, effort = Accelerator(device), timing.TINY if device == "simulator" else timing.QUICK
    data = _empty(accelerator, effort, {})
    with tuning.ignored():
        _measure(options, chosen, accelerator, effort, data)
    return data


def _empty(accelerator: Accelerator, effort: timing.Effort, missing: dict[str, str]) -> dict[str, Any]:
    return {
        "format": 1, "machine": machine(accelerator), "missing": missing, "effort": vars(effort),
        "copy_rate": 0.0, "rows": [], "first_calls": [], "sweep": [], "dispatch": [], "errors": [],
    }  # fmt: skip


def _chosen(options: argparse.Namespace, device: str) -> list[Case]:
    names = tuple(TABLES) if options.tables is None else tuple(options.tables.split(","))
    unknown = set(names) - set(TABLES) - {"none"}
    if unknown:
        known = ", ".join([*TABLES, "none"])
        raise CommandError(f"there is no table {', '.join(sorted(unknown))}; there are {known}")
    if device != "simulator":
        return cases(names, options.quick)
    return list({small.key: small for small in map(shrunk, cases(names, True))}.values())


def _measure(options: argparse.Namespace, chosen: list[Case], accelerator: Accelerator, effort: timing.Effort,
             data: dict[str, Any]) -> None:  # fmt: skip
    """Fills `data` with everything that is asked for. First calls come first, and the profiler last.

    What fails is told under "errors", and the rest goes on: a run is minutes of somebody's machine.
    """
    shrink = accelerator.device == "simulator"
    everybody = contestants(accelerator.device, options.peers)
    first_cases = firsts.cases(shrink) if options.tables is None else []
    swept = list(sweep.cases(shrink)) if options.sweep else []
    by_case: list[tuple[dict[str, Any], Case]] = []
    total = len(first_cases) + len(chosen) + len(swept) + options.dispatch_profile + 2
    with Progress(total) as progress:

        def attempt(what: str, act: Callable, *arguments: Any) -> list:
            """What was measured, alone in a list, which is empty if that failed."""
            progress.step(what)
            try:
                return [act(*arguments)]
            except Exception as error:
                data["errors"].append(f"{what}: {type(error).__name__}: {error}")
                return []
            finally:
                accelerator.forget()

        for case in first_cases:
            what = f"first calls: {case.op} {case.name}"
            data["first_calls"] += attempt(what, firsts.measure, case, everybody, accelerator)
        copied = attempt("the copy rate", timing.copy_rate, accelerator, effort)
        data["copy_rate"] = copied[0] if copied else 0.0
        for case in chosen:
            rows = attempt(f"{case.op} {case.name}", measuring.measure, case, everybody, accelerator, effort)
            data["rows"] += rows
            by_case += [(row, case) for row in rows]
        for case in swept:
            what = f"sweep: {case.op} {case.name}"
            data["sweep"] += attempt(what, sweep.measure, case, everybody, accelerator, effort)
        if options.dispatch_profile:
            profile = attempt("dispatch profile", dispatch.measure, everybody, accelerator, effort, shrink)
            data["dispatch"] = profile[0] if profile else []
        attempt("device times", measuring.fill_in_device_times, by_case, everybody, accelerator)


def write(data: dict[str, Any], out: Path, say: Callable[[str], object]) -> int:
    """The tables on the screen, the files, and the exit status."""
    text = tables.markdown(data)
    say(text)
    json_file, table_file, picture = _files(data, out)
    json_file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    table_file.write_text(text, encoding="utf-8")
    say(f"written\n  {json_file}\n  {table_file}")
    say(f"  {picture}" if plot.draw(data, picture) else "  no picture: it needs matplotlib, and a case to draw")
    broken = len(data["errors"]) + sum(OURS in row["failed"] for row in data["rows"])
    if broken:
        say(f"{broken} failed here, see above. Please report this.")
    return 1 if broken else 0


def _files(data: dict[str, Any], out: Path) -> list[Path]:
    stem = data["machine"]["name"].lower().replace(" ", "-")
    return [out / f"{stem}{ending}" for ending in (".json", ".md", ".png")]
