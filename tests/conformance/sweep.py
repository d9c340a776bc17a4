"""The checker over every source, or a sample: clang reads each, the rest looks at one of each shape.

    python -m tests.conformance.sweep                       # everything: an hour of one core
    python -m tests.conformance.sweep --jobs 16             # in sixteen processes
    python -m tests.conformance.sweep --sample 500 --seed 3
    python -m tests.conformance.sweep --write benchmarks/results/metal-conformance.md
    python -m tests.conformance.sweep --every-tree          # twice the time

clang's own objections (types, address spaces, constant expressions, threadgroup memory, templates as they are filled
in) depend on a source's numbers, so that it reads all of them. What the checker finds in the syntax tree and in the
words depends on the shape of declarations (shapes.py): the tree of a source is looked at where it has a declaration of
a shape not seen before; with --every-tree, where the text as a whole has. What is found is found again by
checker.check(), which names the lines.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

from mps_spectro_patch.execution import selftest
from mps_spectro_patch.kernels.compilers import simulator

from . import checker, frontend, shapes, signatures, sources

_ROOT = Path(__file__).parents[2]
_BATCH = 200  # sources that one run of the preprocessor gets
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_BEGIN = re.compile(r"^msp_next_source[ \t]*\n", re.MULTILINE)


@dataclass
class Outcome:
    sources: int = 0
    shapes: int = 0
    declarations: int = 0
    trees: int = 0  # sources whose syntax tree was looked at
    seconds: float = 0.0
    processor: float = 0.0  # seconds of it
    findings: list[str] = field(default_factory=list)


def sweep(given: Sequence[sources.Generated], every_tree: bool = False,
          say: Callable[[Outcome], object] = lambda _: None) -> Outcome:  # fmt: skip
    """Checks all of `given`; tells of its progress behind every batch."""
    was_frozen = gc.get_freeze_count()
    gc.freeze()  # the sources live as long as this; looking through them again and again takes most of the time
    try:
        return _sweep(given, every_tree, say)
    finally:
        if not was_frozen:
            gc.unfreeze()


def _sweep(given: Sequence[sources.Generated], every_tree: bool, say: Callable[[Outcome], object]) -> Outcome:
    outcome, begin, began = Outcome(), time.perf_counter(), time.process_time()
    moulds: dict[bytes, shapes.Mould | None] = {}
    seen: set[str] = set()
    for start in range(0, len(given), _BATCH):
        batch = given[start : start + _BATCH]
        for source, text in zip(batch, preprocessed([source.text for source in batch]), strict=True):
            shaped, numbers = shapes.shape(text)
            key = hashlib.blake2b(shaped.encode(), digest_size=16).digest()
            new = shapes.declarations(text) - seen
            seen |= new
            if new or (every_tree and key not in moulds):
                outcome.trees += 1
                moulds.setdefault(key, None)
                found = _whole(source)
            else:
                mould = moulds[key] = moulds.get(key) or shapes.Mould(shaped)
                found = _filled(source, mould, numbers)
            outcome.findings += [f"{source.label}: {finding}" for finding in found]
        outcome.sources, outcome.shapes, outcome.declarations = start + len(batch), len(moulds), len(seen)
        outcome.seconds, outcome.processor = time.perf_counter() - begin, time.process_time() - began
        say(outcome)
    return outcome


def preprocessed(texts: list[str]) -> list[str]:
    """host.preprocess() of each, in one run: starting the preprocessor takes ten times as long as what it does."""
    parts = []
    for text in texts:
        names = dict.fromkeys(_DEFINE.findall(text))
        parts.append(f"msp_next_source\n{text}\n" + "".join(f"#undef {name}\n" for name in names))
    _, *found = _BEGIN.split(simulator.preprocess("".join(parts)))
    assert len(found) == len(texts)
    return [text.strip("\n") + "\n" for text in found]


def side_by_side(given: Sequence[sources.Generated], jobs: int, every_tree: bool) -> Outcome:
    """sweep() in several processes, each of which has its part. Of shapes and trees, those of all parts are counted."""
    with ProcessPoolExecutor(jobs) as pool:
        parts = list(pool.map(sweep, [given[part::jobs] for part in range(jobs)], [every_tree] * jobs))
    total = Outcome(seconds=max(part.seconds for part in parts))
    for part in parts:
        for name in ("sources", "shapes", "declarations", "trees", "processor", "findings"):
            setattr(total, name, getattr(total, name) + getattr(part, name))
    return total


def _whole(source: sources.Generated) -> Iterator[object]:
    report = checker.check(source.text, house=True)
    yield from report.findings
    yield from _launched_otherwise(source, {s.kernel: s.max_threads for s in report.signatures})


def _filled(source: sources.Generated, mould: shapes.Mould, numbers: list[str]) -> Iterator[object]:
    filled = mould.fill(numbers)
    if filled.findings or frontend.parse(filled.text).findings:
        yield from checker.check(source.text, house=True).findings or ["flagged by its shape alone, which is wrong"]
    limits = {k.name: signatures.number(k.attributes.get("max_total_threads_per_threadgroup")) for k in filled.kernels}
    yield from _launched_otherwise(source, limits)


def _launched_otherwise(source: sources.Generated, limits: dict[str, int | None]) -> Iterator[str]:
    if limits.get(source.kernel) != source.threads:
        yield f"launched with {source.threads} threads, its text says {limits.get(source.kernel)}"


# --- the command -----------------------------------------------------------------------------------------------------


def report(outcome: Outcome, command: str, commit: str, jobs: int = 1) -> str:
    """The outcome as benchmarks/results/ keeps it."""
    found = "".join(f"* {finding}\n" for finding in outcome.findings[:50]) or "None.\n"
    return f"""# Every Metal source that the package generates, through the checker of tests/conformance

    {command}

| | |
|---|---|
| commit | {commit}, Metal text {selftest.environment()["kernels"]} |
| date | {date.today()} |
| front end | libclang {version("libclang")}, Python {platform.python_version()}, processes: {jobs} |
| sources, all read by clang with their templates filled in | {outcome.sources:,} |
| shapes of texts (without their whole numbers) | {outcome.shapes:,} |
| shapes of declarations, each looked at in a syntax tree | {outcome.declarations:,} |
| sources whose syntax tree was looked at | {outcome.trees:,} |
| seconds, and those of the processor | {outcome.seconds:,.0f}, {outcome.processor:,.0f} |
| findings | {len(outcome.findings):,} |

## Findings

{found}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="as many at random, instead of all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", default="0/1", help="i/n: every n-th from the i-th on")
    parser.add_argument("--kernels", default="", help="only those with this in their names: general, istft, ...")
    parser.add_argument("--every-tree", action="store_true", help="of every shape of a text, not of a declaration")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--write", type=Path, help="a file for the outcome")
    options = parser.parse_args()
    given: Sequence[sources.Generated] = sources.everything()
    part, parts = map(int, options.part.split("/"))
    given = [source for source in given if options.kernels in source.kernel][part::parts]
    if options.sample:
        given = random.Random(options.seed).sample(given, min(options.sample, len(given)))
    commit = _commit()  # what is imported by now

    def say(outcome: Outcome) -> None:
        print(f"{outcome.sources} of {len(given)}, {outcome.shapes} shapes, {outcome.trees} trees, "
              f"{len(outcome.findings)} findings, {outcome.seconds:.0f} s", file=sys.stderr)  # fmt: skip

    jobs = options.jobs
    outcome = sweep(given, options.every_tree, say) if jobs == 1 else side_by_side(given, jobs, options.every_tree)
    text = report(outcome, " ".join(["python -m tests.conformance.sweep", *sys.argv[1:]]), commit, jobs)
    if options.write:
        options.write.write_text(text)
    print(text)
    return 1 if outcome.findings else 0


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=_ROOT).stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (", changed" if git("status", "--porcelain") else "")


if __name__ == "__main__":
    sys.exit(main())
