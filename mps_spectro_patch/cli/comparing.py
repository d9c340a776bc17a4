"""`mps-spectro-patch run --compare PROGRAM`: plain and accelerated in turns, each in a process of its own, and a table.

One more process makes every call of torch.stft and torch.istft both ways (both_ways.py), as two runs of a program may
draw other numbers.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from .. import startup
from ..bench import Progress
from ..errors import CommandError
from ..options import Options
from ..reasons import Reason
from .running import find_program, is_ours_to_run


class Run(NamedTuple):
    """One process: its seconds, exit status and output."""

    seconds: float
    code: int
    output: bytes
    errors: bytes


def compare_program(options: Namespace) -> int:
    """The command: 0 if both ended with the same exit status, else 1. Raises CommandError where there is nothing to
    compare."""
    plain, accelerated = _commands(options)
    with tempfile.TemporaryDirectory() as folder, Progress(1 + 2 * options.turns) as progress:
        found = Path(folder, "calls.json")
        progress.step("every call both ways")
        first = _run([*accelerated[:-1], "--both-ways", str(found), *accelerated[-1]])
        runs: dict[str, list[Run]] = {"plain": [], "accelerated": []}
        for _ in range(options.turns):
            for name, command in (("plain", plain), ("accelerated", [*accelerated[:-1], *accelerated[-1]])):
                progress.step(name)
                runs[name].append(_run(command))
                if name == "plain" and runs[name][-1].code:
                    _show_end(runs[name][-1])
                    raise CommandError(f"the plain program ends with exit status {runs[name][-1].code}: see above")
        calls = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {}
    print("\n".join(_table(runs, calls, options)))
    for words in _own_words(first, *runs["accelerated"]):
        print(words, file=sys.stderr)
    bad = next((run for run in (first, *runs["accelerated"]) if run.code), None)
    if bad is not None:
        _show_end(bad)
        print(f"the accelerated program ends with exit status {bad.code}: see above")
    return 0 if bad is None else 1


def _commands(options: Namespace) -> tuple[list[str], list[Any]]:
    """How Python runs the program, and how `run` does (whose last part is a list, before which options may go)."""
    if not options.command_line or options.command_line[0] == "-":
        raise CommandError("--compare needs a script, -m and a module, -c and code, or a program on PATH")
    if options.turns < 1 or options.stats or options.trace:
        raise CommandError("--compare goes with --turns 1 or more, and without --stats and --trace")
    what = ["-m"] * options.is_module + ["-c"] * options.is_code
    python = [sys.executable, *what]
    if not what:
        program = find_program(options.command_line[0])
        if not is_ours_to_run(program):
            raise CommandError(f"{program} is no program of this Python: --compare cannot look inside")
        options.command_line[0] = program
    ours = [sys.executable, "-m", __package__.partition(".")[0], "run"]
    for name in ("devices", "reach", "verify"):
        if getattr(options, name) is not None:
            ours += [f"--{name}", getattr(options, name)]
    return [*python, *options.command_line], [*ours, [*what, *options.command_line]]


def _run(command: list[str]) -> Run:
    environment = {name: value for name, value in os.environ.items() if name != startup.VARIABLE}
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment)
    return Run(time.perf_counter() - start, done.returncode, done.stdout, done.stderr)


def _show_end(run: Run) -> None:
    sys.stderr.write("\n".join(run.errors.decode(errors="replace").splitlines()[-20:]) + "\n")


def _own_words(*runs: Run) -> list[str]:
    """What this package said of the program on stderr, each once."""
    lines = (line for run in runs for line in run.errors.decode(errors="replace").splitlines())
    return list(
        dict.fromkeys(line for line in lines if "mps_spectro_patch: " in line or line.startswith("mps-spectro"))
    )


def _table(runs: dict[str, list[Run]], calls: dict[str, dict[str, Any]], options: Namespace) -> list[str]:
    lines = [f"{'':<26}{'plain':>12}{'accelerated':>14}"]
    lines += [_row(f"whole run, median of {options.turns}", *(_median(some) for some in runs.values()))]
    compared = {op: told for op, told in calls.items() if told["calls"] and told["fast"]}
    for op, told in compared.items():
        lines += [_row(f"{told['calls']} calls of torch.{op}", told["plain"], told["accelerated"])]
    lines += [f"whole runs: {', '.join(f'{name} {_range(some)}' for name, some in runs.items())}"]
    if compared:
        lines += ["calls: made both ways in one more process, waiting for the device; without the first of each kind"]
    seen = {op: told for op, told in calls.items() if told["fast"] or told["fallback"]}
    for op, told in seen.items():
        words = [f"{told['fast']} fast"]
        words += [f"{count} fell back ({Reason(name).words})" for name, count in told["fallback"].items()]
        difference = f"; largest difference, relative to the result: {told['difference']:.1e}" if op in compared else ""
        lines += [f"torch.{op}: {', '.join(words)}{difference}"]
    if not seen:
        lines += ["no calls of torch.stft and torch.istft were seen"]
    lines += _outputs(runs)
    if "simulator" in Options.resolve(options.devices).devices:
        lines += ["The simulator is slow: its times say nothing about a GPU."]
    return lines


def _median(runs: list[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def _range(runs: list[Run]) -> str:
    seconds = [run.seconds for run in runs]
    return f"{min(seconds):.2f} to {max(seconds):.2f} s"


def _row(name: str, plain: float, accelerated: float) -> str:
    factor = f"{plain / accelerated:.2f} times as fast" if accelerated else ""
    return f"{name:<26}{_time(plain):>12}{_time(accelerated):>14}   {factor}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.1f} ms"


def _outputs(runs: dict[str, list[Run]]) -> list[str]:
    """What the runs printed, which may differ without us: times, progress, random numbers."""
    plain, accelerated = ({run.output for run in some} for some in runs.values())
    if len(plain | accelerated) == 1:
        return ["printed: the same" if plain != {b""} else "printed: nothing"]
    if len(plain) > 1:
        return ["printed: differs from run to run, plain runs too"]
    outputs = [sorted(some)[-1].decode(errors="replace").splitlines() for some in (plain, accelerated - plain)]
    number, pair = next((n, pair) for n, pair in enumerate(zip_longest(*outputs, fillvalue="")) if pair[0] != pair[1])
    found = zip(runs, pair, strict=True)
    return [f"printed: differs from line {number + 1} on", *(f"  {name}: {line[:100]}" for name, line in found)]
