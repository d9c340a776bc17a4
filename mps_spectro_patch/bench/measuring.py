"""Measures cases: everybody's times in turns, then device time, memory, and this package's error against float64."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from . import timing
from .accelerator import FOOTPRINT, Accelerator
from .cases import Case
from .contestants import OURS, TORCH, Contestant, features, inputs
from .timing import Effort, Timed

SETS_MAX = 40
CHECKED = 100_000  # samples of the one row that is compared with float64
SAME = 1e-3  # of a peer's result, relative L2: it computes what torch does, whatever its rounding


def measure(case: Case, everybody: list[Contestant], accelerator: Accelerator, effort: Effort) -> dict[str, Any]:
    """One row of the results. What somebody cannot do, or fails at, is left out, with the reason under "failed"."""
    window = torch.hann_window(case.n_fft, dtype=torch.float32, device=accelerator.place)
    sets = min(SETS_MAX, max(1, -(-FOOTPRINT[accelerator.device] // case.bytes_moved)))
    given = [inputs(case, window, start) for start in range(sets)]
    failed: dict[str, str] = {}
    with strict():
        timed = _entered(case, everybody, given, window, failed)
        timing.in_turns(timed, accelerator, effort)
        measured = [one for one in everybody if one.name in timed]
        by = {one.name: _times(one, timed[one.name], case, accelerator, effort, failed) for one in measured}
        error = _error(case, everybody, accelerator) if OURS in by else None
    return {
        "table": case.table, "op": case.op, "case": case.name, "key": case.key, "rows": case.rows,
        "samples": case.samples, "n_fft": case.n_fft, "hop_length": case.hop_length, "bytes": case.bytes_moved,
        "published": list(case.published or ()), "by": by, "failed": failed, "error": error,
    }  # fmt: skip


def fill_in_device_times(rows: list[tuple[dict, Case]], everybody: list[Contestant], accelerator: Accelerator) -> None:
    """Device time of what no graph can hold, by the profiler: last, as it can make later launches slower."""
    if accelerator.device != "cuda":
        return
    for row, case in rows:
        for one in everybody:
            if one.name in row["by"] and row["by"][one.name]["device"] is None:
                window = torch.hann_window(case.n_fft, dtype=torch.float32, device=accelerator.place)
                function = one.make(case, window)
                with one.scope():
                    seconds = timing.profiled([partial(function, *inputs(case, window, start)) for start in range(2)])
                row["by"][one.name]["device"] = timing.summary([seconds])
        accelerator.forget()


def _times(who: Contestant, timed: Timed, case: Case, accelerator: Accelerator, effort: Effort,
           failed: dict[str, str]) -> dict[str, Any]:  # fmt: skip
    """What is known of one contestant. Into `failed`: why there is no device time, if a graph should have given it."""
    device = None
    with who.scope():
        if accelerator.device == "cuda" and case.op in who.capturable:
            try:
                device = timing.summary(timing.captured(timed.calls, effort))
            except RuntimeError as error:
                failed[who.name] = f"in a graph: {error}"
        memory = accelerator.peak(timed.calls[0])
    synchronised, queued = timing.summary(timed.synchronised), timing.summary(timed.queued)
    return {"synchronised": synchronised, "queued": queued, "device": device, "memory": memory}


def _entered(case: Case, everybody: list[Contestant], given: list[tuple], window: torch.Tensor,
             failed: dict[str, str]) -> dict[str, Timed]:  # fmt: skip
    """Those whose first call works and gives what torch gives. Into `failed`: why the others are left out."""
    timed, expected = {}, None
    for contestant in everybody:
        try:
            function = contestant.make(case, window)
            if function is None:
                continue
            calls = [partial(function, *one) for one in given]
            with contestant.scope():
                result = calls[0]()  # the first compiles, and is compared with torch's own
            expected = result if expected is None else expected
            apart = relative_error(result, expected)
            if apart <= SAME:
                timed[contestant.name] = Timed(calls, contestant.scope)
            else:
                failed[contestant.name] = f"computes something else than {TORCH}: {apart:.1e} apart"
        except Exception as error:  # somebody else's program, or no memory: the others go on
            failed[contestant.name] = f"{type(error).__name__}: {error}"
    return timed


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    """Relative L2; infinite for a result of another shape or one that is not finite."""
    if got.shape != want.shape:
        return float("inf")
    # As real numbers: Apple GPUs have no norm of complex ones.
    got, want = (torch.view_as_real(t) if t.is_complex() else t for t in (got.detach().to(want.dtype), want.detach()))
    error = float((got - want).norm() / want.norm())
    return error if math.isfinite(error) else float("inf")


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """A front end whose kernel is found wrong says so in a warning, and is composed from then on: no time of ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="mps_spectro_patch:", category=RuntimeWarning)
        yield


def _error(case: Case, everybody: list[Contestant], accelerator: Accelerator) -> float:
    """Relative L2 of one row, of at most CHECKED samples, from float64; of logarithms the largest difference."""
    by_name = {one.name: one for one in everybody}
    small = replace(case, rows=1, samples=min(case.samples, CHECKED))
    wide = torch.hann_window(case.n_fft, dtype=torch.float64, device="cpu")
    given = inputs(small, wide.float())
    double = [t.to(torch.complex128 if t.is_complex() else torch.float64) for t in given]
    if case.front_end:  # this package's composition: float64 never goes to a kernel
        want = features(case, case.front_end.ours("cpu"))(*double)
    else:
        want = by_name[TORCH].make(small, wide)(*double)
    window = torch.hann_window(case.n_fft, dtype=torch.float32, device=accelerator.place)
    with by_name[OURS].scope():
        got = by_name[OURS].make(small, window)(*(t.to(accelerator.place) for t in given))
    got = got.cpu().to(want.dtype)
    if case.op != "log-mel":
        return relative_error(got, want)
    # Near the clamp, and in bands that happen to cancel, a logarithm tells nothing of the transform.
    judged = (want > want.mean(-1, keepdim=True) - 2.0) & (want > want.amin() + 0.7)
    return float(((got - want).abs() * judged).max())
