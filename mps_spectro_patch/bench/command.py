"""The command: which parts run, in which order, and where the results go."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import tuning
from ..cli import CommandError
from ..demo import best_device, check_device
from ..patching import disable
from . import compare, dispatch, firsts, measuring, plot, prediction, sweep, tables, timing
from .accelerator import Accelerator, machine
from .cases import TABLES, Case, cases, shrunk
from .contestants import IMPORTED, Contestant, contestants, why_not
from .progress import Progress


def run(options: argparse.Namespace) -> int:
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
    with tuning.ignored():
        data = measure(plan)
    return write(data, out, print)


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


def measure(plan: Plan) -> dict[str, Any]:
    """Everything of the plan, as plain data. First calls come first, and the profiler last."""
    accelerator, everybody = plan.accelerator, plan.everybody
    missing = {name: why_not(name) for name in IMPORTED if why_not(name)} if plan.peers else {}
    data: dict[str, Any] = {
        "format": 1, "machine": machine(accelerator), "missing": missing, "effort": vars(plan.effort),
    }  # fmt: skip
    first_cases = firsts.cases(plan.shrink) if plan.firsts else []
    steps = len(first_cases) + 1 + len(plan.chosen) + len(plan.sweep) + plan.dispatch
    with Progress(steps) as progress:
        data["first_calls"] = []
        for case in first_cases:
            progress.step(f"first calls: {case.op} {case.name}")
            data["first_calls"].append(firsts.measure(case, everybody, accelerator))
        progress.step("the copy rate")
        data["copy_rate"] = timing.copy_rate(accelerator, plan.effort)
        accelerator.forget()
        data["rows"] = []
        for case in plan.chosen:
            progress.step(f"{case.op} {case.name}")
            data["rows"].append(measuring.measure(case, everybody, accelerator, plan.effort))
            accelerator.forget()
        data["sweep"] = []
        for case in plan.sweep:
            progress.step(f"sweep: {case.op} {case.name}")
            data["sweep"].append(sweep.measure(case, everybody, accelerator, plan.effort))
        data["dispatch"] = []
        if plan.dispatch:
            progress.step("dispatch profile")
            data["dispatch"] = dispatch.measure(everybody, accelerator, plan.effort, plan.shrink)
        measuring.fill_in_device_times(data["rows"], plan.chosen, everybody, accelerator)
    return data


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
    broken = [row for row in data["rows"] if "ours" in row["failed"]]
    if broken:
        say(f"{len(broken)} cases failed here, see above. Please report this.")
    return 1 if broken else 0
