"""What part of a whole inference or training step is spent in its STFT, mel front end or spectral losses, without this
package and with it.

    python benchmarks/front_end_share.py --device cuda                # prints a table, writes OUT.json and OUT.md
    python benchmarks/front_end_share.py --device simulator --tiny    # to see that it works; its times mean nothing

For the projects that are installed, unmodified (front_end_projects.py, front_end_steps.py). The whole is timed by
itself, and the front end in further runs, where every call of it is waited for: what is queued while the device is busy
counts in full. Medians of several runs, with this package and without it in turn, behind two of each that warm up.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import io
import json
import logging
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import mps_spectro_patch as msp  # noqa: E402
from benchmarks.front_end_projects import PROJECTS as INFERENCES  # noqa: E402
from benchmarks.front_end_projects import Job, Setting  # noqa: E402
from benchmarks.front_end_steps import STEPS  # noqa: E402

PROJECTS = INFERENCES | STEPS

DEVICES = {"cuda": "cuda", "mps": "mps", "simulator": "cpu"}
COLUMNS = ("project", "model", "audio", "front end", "calls", "whole", "of it front end", "whole, patched",
           "of it front end, patched", "front end faster", "whole faster")  # fmt: skip


class Clock:
    """Seconds spent inside, with everything waited for; what is inside another counts once."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.seconds, self.calls, self._depth, self._wait = 0.0, 0, 0, wait

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._wait()
            self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._wait()
            self.seconds += time.perf_counter() - self._start
            self.calls += 1


@contextmanager
def timed(job: Job, clock: Clock) -> Iterator[None]:
    """Every call of the job's front end, whatever stands there, inside the clock."""
    before = []
    for owner, name in job.front_end[0]:
        own = getattr(owner, name)

        @functools.wraps(own)
        def function(*arguments: Any, own: Callable = own, **options: Any) -> Any:
            with clock:
                return own(*arguments, **options)

        before.append((owner, name, name in vars(owner), own))
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, was_there, own in before:
            setattr(owner, name, own) if was_there else delattr(owner, name)


class Measured:
    """Seconds of the whole and of its front end, run by run."""

    def __init__(self) -> None:
        self.wholes: list[float] = []
        self.front_ends: list[float] = []
        self.calls = 0

    def take(self, job: Job, wait: Callable[[], None]) -> None:
        gc.collect()
        whole, front = Clock(wait), Clock(wait)
        job.run(whole)
        with timed(job, front):
            job.run(Clock(wait))
        self.wholes.append(whole.seconds)
        self.front_ends.append(front.seconds)
        self.calls = front.calls

    def medians(self) -> dict[str, Any]:
        whole, front_end = statistics.median(self.wholes), statistics.median(self.front_ends)
        return dict(whole=whole, front_end=front_end, calls=self.calls, runs=len(self.wholes), wholes=self.wholes,
                    front_ends=self.front_ends)  # fmt: skip


def compare(job: Job, device: str, repeats: int, patience: float) -> dict[str, Any]:
    """Both ways in turn, so that whatever the machine does meanwhile happens to both."""
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device, lambda: None)
    without, patched = Measured(), Measured()
    msp.reset_stats()
    for _ in ("compiles", "plans"):
        job.run(Clock(wait))
        with enabled(device):
            job.run(Clock(wait))
    start = time.perf_counter()
    while len(without.wholes) < repeats and (len(without.wholes) < 3 or time.perf_counter() - start < patience):
        without.take(job, wait)
        with enabled(device):
            patched.take(job, wait)
    fallbacks = {str(why): times for count in msp.stats().values() for why, times in count.fallback.items()}
    return dict(project=job.project, model=job.model, audio=job.seconds, front_end=job.front_end[1],
                without=without.medians(), patched=patched.medians(), fallbacks=fallbacks)  # fmt: skip


@contextmanager
def enabled(device: str) -> Iterator[None]:
    msp.enable(devices=(device,), on_error="raise")
    try:
        yield
    finally:
        msp.disable()


def cells(result: dict[str, Any]) -> list[str]:
    """One row of the table."""
    without, patched = result["without"], result["patched"]
    fallbacks = sum(result["fallbacks"].values())

    def part(measured: dict[str, Any]) -> str:
        return f"{measured['front_end'] * 1e3:.2f} ms, {measured['front_end'] / measured['whole']:.1%}"

    return [
        result["project"], result["model"], f"{result['audio']:g} s", result["front_end"],
        f"{without['calls']}" + (f" ({fallbacks} fell back)" if fallbacks else ""),
        f"{without['whole'] * 1e3:.1f} ms", part(without), f"{patched['whole'] * 1e3:.1f} ms", part(patched),
        f"{without['front_end'] / patched['front_end']:.2f}x", f"{without['whole'] / patched['whole']:.3f}x",
    ]  # fmt: skip


def markdown(report: dict[str, Any]) -> str:
    lines = [f"# Front ends and spectral losses in whole programs, on {report['gpu']}", "", report["words"], ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(result)) + " |" for result in report["results"]]
    if report["missing"]:
        lines += ["", "Not measured:", "", *(f"* {name}: {why}" for name, why in report["missing"].items())]
    return "\n".join(lines) + "\n"


def words(device: str, tiny: bool) -> str:
    about = (
        f"torch {torch.__version__}. From audio in memory to results in memory: reading and writing files does not "
        "count. `of it front end`: its calls, each waited for, in further runs, and their part of the whole. Weights "
        "are random but for torchfcpe's; the sizes are those that are published, the number of parameters stands "
        "beside each model. torch's own settings, which allow TF32 in convolutions. Medians; every run is in the JSON "
        "file."
    )
    return about + (" **Tiny models, to see that it works: these times mean nothing.**" if tiny else "")


def write(report: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    out.with_suffix(".md").write_text(markdown(report))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=DEVICES, default="cuda" if torch.cuda.is_available() else "simulator")
    parser.add_argument("--only", nargs="*", choices=PROJECTS, default=list(PROJECTS))
    parser.add_argument("--tiny", action="store_true", help="small models and two seconds of audio")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--patience", type=float, default=10.0, help="seconds, per job; three runs each way at least")
    parser.add_argument("--out", type=Path, default=Path("front_end_share"), help="without .json and .md")
    parser.add_argument("--add", action="store_true", help="to what OUT.json has already")
    options = parser.parse_args()
    if options.device == "simulator":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for projects that choose a device themselves
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    report: dict[str, Any] = dict(gpu=gpu, words=words(options.device, options.tiny), results=[], missing={})
    if options.add and options.out.with_suffix(".json").exists():
        report = json.loads(options.out.with_suffix(".json").read_text())
    report["missing"] = {name: why for name, why in report["missing"].items() if name not in options.only}
    setting = Setting(DEVICES[options.device], options.tiny)
    logging.disable(logging.WARNING)
    for name in options.only:
        for number, make in enumerate(PROJECTS[name](setting)):
            start, said = time.perf_counter(), io.StringIO()
            try:  # one project's failure is a line in the report, not the end of it
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    result = compare(make(), options.device, options.repeats, options.patience)
            except (Exception, SystemExit) as error:
                report["missing"][f"{name} ({number + 1})"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                print(said.getvalue()[-1500:], file=sys.stderr)
                traceback.print_exc()
            else:
                report["results"].append(result)
                print(f"{time.perf_counter() - start:6.1f} s  " + " | ".join(cells(result)), flush=True)
            write(report, options.out)
            gc.collect()
            if options.device == "cuda":
                torch.cuda.empty_cache()
    print(markdown(report))
    return int(not report["results"])


if __name__ == "__main__":
    sys.exit(main())
