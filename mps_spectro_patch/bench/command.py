"""The command: which parts run, in which order, and where the results go."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import CommandError
from ..execution import best_device, check_device, tuning
from ..patching import disable
from . import compare, dispatch, firsts, measuring, plot, prediction, sweep, tables, timing
from .accelerator import Accelerator, machine
from .cases import TABLES, Case, cases, shrunk
from .contestants import IMPORTED, OURS, Contestant, contestants, why_not
from .progress import Progress


def run_bench(options: argparse.Namespace) -> int:
    """0, or 1 if something of ours failed. Raises CommandError for what a person can put right."""
    if options.compare:
        print(compare.table(*map(compare.load, options.compare)))
        return 0
    if options.predict:
        print(prediction.table())
        return 0
    plan = Plan.of(options)
    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the folder {out}: {error.strerror}") from None
    disable()  # MPS_SPECTRO_PATCH=1 would accelerate torch's own side, too
    data = begun(plan)
    try:
        with tuning.ignored():
            measure(plan, data)
    finally:  # of a run that is interrupted, too
        code = write(data, out, print)
    return code


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long each is looked at."""

    accelerator: Accelerator
    everybody: list[Contestant]
    chosen: list[Case]
    effort: timing.Effort
    sweep: list[Case]
    firsts: bool
    dispatch: bool
    peers: bool
    shrink: bool

    @classmethod
    def of(cls, options: argparse.Namespace) -> Plan:
        device = options.device or best_device()
        check_device(device)
        shrink = device == "simulator"
        names = tuple(TABLES) if options.tables is None else tuple(options.tables.split(","))
        unknown = set(names) - set(TABLES) - {"none"}
        if unknown:
            known = ", ".join([*TABLES, "none"])
            raise CommandError(f"there is no table {', '.join(sorted(unknown))}; there are {known}")
        chosen = cases(names, options.quick or shrink)
        if shrink:
            chosen = list({shrunk(case).key: shrunk(case) for case in chosen}.values())
        effort = timing.TINY if shrink else timing.QUICK if options.quick else timing.FULL
        swept = list(sweep.cases(shrink)) if options.sweep else []
        return cls(
            Accelerator(device), contestants(device, options.peers), chosen, effort, swept, options.tables is None,
            options.dispatch_profile, options.peers, shrink,
        )  # fmt: skip


def begun(plan: Plan) -> dict[str, Any]:
    """Results in which nothing was measured yet."""
    missing = {name: why_not(name) for name in IMPORTED if why_not(name)} if plan.peers else {}
    return {
        "format": 1, "machine": machine(plan.accelerator), "missing": missing, "effort": vars(plan.effort),
        "copy_rate": 0.0, "rows": [], "first_calls": [], "sweep": [], "dispatch": [], "errors": [],
    }  # fmt: skip


def measure(plan: Plan, data: dict[str, Any]) -> None:
    """Fills `data` with everything of the plan. First calls come first, and the profiler last.

    What fails is told under "errors", and the rest goes on: a run is minutes of somebody's machine.
    """
    accelerator, everybody, effort = plan.accelerator, plan.everybody, plan.effort
    first_cases = firsts.cases(plan.shrink) if plan.firsts else []
    by_case: list[tuple[dict[str, Any], Case]] = []
    with Progress(len(first_cases) + len(plan.chosen) + len(plan.sweep) + plan.dispatch + 2) as progress:

        def attempt(what: str, act: Callable[[], Any]) -> Any:
            progress.step(what)
            try:
                return act()
            except Exception as error:
                data["errors"].append(f"{what}: {type(error).__name__}: {error}")
                return None
            finally:
                accelerator.forget()

        for case in first_cases:
            row = attempt(f"first calls: {case.op} {case.name}", partial(firsts.measure, case, everybody, accelerator))
            data["first_calls"] += [row] if row else []
        data["copy_rate"] = attempt("the copy rate", partial(timing.copy_rate, accelerator, effort)) or 0.0
        for case in plan.chosen:
            row = attempt(f"{case.op} {case.name}", partial(measuring.measure, case, everybody, accelerator, effort))
            data["rows"] += [row] if row else []
            by_case += [(row, case)] if row else []
        for case in plan.sweep:
            row = attempt(f"sweep: {case.op} {case.name}", partial(sweep.measure, case, everybody, accelerator, effort))
            data["sweep"] += [row] if row else []
        if plan.dispatch:
            profile = partial(dispatch.measure, everybody, accelerator, effort, plan.shrink)
            data["dispatch"] = attempt("dispatch profile", profile) or []
        attempt("device times", partial(measuring.fill_in_device_times, by_case, everybody, accelerator))


def write(data: dict[str, Any], out: Path, say: Callable[[str], object]) -> int:
    """The files, the tables on the screen, and the exit status."""
    stem = data["machine"]["name"].lower().replace(" ", "-")
    text = tables.markdown(data)
    json_file, table_file, picture = (out / f"{stem}{ending}" for ending in (".json", ".md", ".png"))
    json_file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    table_file.write_text(text, encoding="utf-8")
    say(text)
    say("written\n" + "\n".join(f"  {file}" for file in (json_file, table_file)))
    if plot.draw(data, picture):
        say(f"  {picture}")
    else:
        say("  no picture: it needs matplotlib, and a case to draw")
    broken = len(data["errors"]) + sum(OURS in row["failed"] for row in data["rows"])
    if broken:
        say(f"{broken} failed here, see above. Please report this.")
    return 1 if broken else 0
