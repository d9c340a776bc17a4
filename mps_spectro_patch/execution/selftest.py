"""The first minute on a Mac: whether the kernels compile, have the properties they count on, and give right numbers.

Runs behind the first accelerated call of a process on MPS, because what touches Metal before that would harm programs
that fork. It takes well under a second; the next process goes on, until every plan has passed once in this environment
(this package, torch, macOS, chip). Passes are recorded in the user's cache directory. A plan that fails is not used in
this process, and one warning says what to report; the next process tries it again. Memory, time-outs and interruptions
are no verdict.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from ..kernels import cache_directory, fft, read_json, text_digest, write_file
from ..options import ENVIRONMENT, logger
from ..version import __version__
from . import call_sites, quarantine, selftest_cases
from .passing import passes

# Frames within a simdgroup, several to a threadgroup; as large as one; and those that a whole threadgroup transforms.
SIZES = (400, 1024, 4096)
FRONT_ENDS = (400, 1024)  # of those, the sizes whose mel kernels are tried as well, forward and gradient
SECONDS = 0.7  # after which no further plan is begun: the next process goes on
SIMD_WIDTH = 32
TOLERANCE = 1e-5  # relative L2 against float64; the kernels reach 3e-7
is_done = False  # in this process


@dataclass
class Check:
    """One plan's kernel: its pipeline's properties, its error, and what is wrong with it ("" for nothing)."""

    op: str  # as execution/selftest_cases.py has them
    n_fft: int
    wrong: str = ""
    error: float | None = None
    max_threads: int | None = None
    simd_width: int | None = None
    threadgroup_bytes: int | None = None
    seconds: float = 0.0


@dataclass
class Outcome:
    environment: dict[str, str]
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if check.wrong]


def behind_call(device: torch.device) -> None:
    """The self-test of this process, on the device of the call that has just been accelerated.

    Goes on where the record for this environment ends; what fails is turned off. MPS_SPECTRO_PATCH_SELFTEST=0: nothing.
    """
    global is_done
    if is_done or os.environ.get(f"{ENVIRONMENT}_SELFTEST", "").strip().lower() in ("0", "off", "false", "no"):
        return
    is_done = True
    here = environment()
    outcome = _recorded(here) or Outcome(here)
    made = []
    for check in _tried(device, SIZES, SECONDS, outcome):
        _record(outcome)  # now: the process may be ended at any time
        made.append(check)
        if check.wrong:
            _turn_off(check, device)
    logger.info("self-test on %s: %d kernels tried, %d on record", here["chip"], len(made), len(outcome.checks))
    _warn_of([check for check in made if check.wrong], here)


def run(device: torch.device, sizes: Iterable[int] = SIZES, seconds: float | None = SECONDS) -> Outcome:
    """Compiles and tries the plans of `sizes` on `device`; seconds=None takes as long as it takes."""
    outcome = Outcome(environment())
    for _ in _tried(device, sizes, seconds, outcome):
        pass
    return outcome


def _tried(device: torch.device, sizes: Iterable[int], seconds: float | None, outcome: Outcome) -> Iterator[Check]:
    """The checks that are made now, each when it is in the outcome: what failed before, then what was never tried.

    One at least of those is made, and so every process gets further.
    """
    failed = [(check.op, check.n_fft) for check in outcome.failures]
    passed = [check for check in outcome.checks if not check.wrong]
    known = {*failed, *((check.op, check.n_fft) for check in passed)}
    begin, spent = time.perf_counter(), outcome.seconds
    for number, (op, n_fft) in enumerate([*failed, *(one for one in planned(sizes) if one not in known)]):
        if seconds is not None and number > len(failed) and time.perf_counter() - begin > seconds:
            break
        check = _check(op, n_fft, device)
        if check is not None:
            outcome.checks = [one for one in outcome.checks if (one.op, one.n_fft) != (op, n_fft)] + [check]
            outcome.seconds = spent + time.perf_counter() - begin
            yield check


def planned(sizes: Iterable[int]) -> list[tuple[str, int]]:
    """(op, n_fft), the most used first."""
    sizes = list(sizes)
    found = [(op, n_fft) for n_fft in sizes for op in ("stft", "istft")]
    return found + [(op, n_fft) for n_fft in sizes if n_fft in FRONT_ENDS for op in selftest_cases.FRONT_ENDS]


@lru_cache(maxsize=1)
def _machine() -> tuple[str, str]:
    """(macOS or the system, chip)."""
    if sys.platform != "darwin":
        return f"{platform.system()} {platform.release()}", platform.machine()
    chip = platform.processor()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        chip = subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip() or chip
    return f"macOS {platform.mac_ver()[0]}", chip


def environment() -> dict[str, str]:
    """What a recorded outcome holds for."""
    system, chip = _machine()
    return {
        "mps_spectro_patch": __version__, "torch": torch.__version__, "system": system, "chip": chip,
        "fast_math": os.environ.get("PYTORCH_MPS_FAST_MATH", ""),  # another mode of Apple's compiler
        "kernels": text_digest(),
    }  # fmt: skip


def _check(op: str, n_fft: int, device: torch.device) -> Check | None:
    """None where an error was the moment's: a later process tries again."""
    check = Check(op, n_fft)
    begin = time.perf_counter()
    try:
        with torch.inference_mode(False), torch.no_grad():
            check.wrong = _properties(check, device) or _numbers(check, device)
    except Exception as error:  # whatever goes wrong is what this is here to find, and nobody's program may see it
        if passes(error):
            logger.info("self-test of %s n_fft=%d: %s", op, n_fft, error)
            return None
        check.wrong = f"{type(error).__name__}: {error}"
    check.seconds = round(time.perf_counter() - begin, 4)
    return check


def _properties(check: Check, device: torch.device) -> str:
    kernel, which = selftest_cases.kernel(check.op, check.n_fft, device)
    check.max_threads = int(kernel.max_threads_per_threadgroup)
    check.simd_width = int(kernel.thread_execution_width)
    check.threadgroup_bytes = int(kernel.static_thread_group_memory_length)
    if check.max_threads < which.threads:
        return f"the pipeline takes {check.max_threads} threads per threadgroup, the plan needs {which.threads}"
    if check.simd_width != SIMD_WIDTH:
        return f"a simdgroup has {check.simd_width} threads, the kernels count on {SIMD_WIDTH}"
    if check.threadgroup_bytes > fft.THREADGROUP_BYTES:
        return f"{check.threadgroup_bytes} bytes of threadgroup memory, more than {fft.THREADGROUP_BYTES}"
    return ""


def _numbers(check: Check, device: torch.device) -> str:
    result, expected = selftest_cases.numbers(check.op, check.n_fft, device)
    if result is None or result.shape != expected.shape:
        return f"a result of shape {None if result is None else tuple(result.shape)}, not {tuple(expected.shape)}"
    error = (result.cpu().to(expected.dtype) - expected).norm() / expected.norm()
    check.error = float(error)
    return "" if check.error <= TOLERANCE else f"differs from torch in float64 by {check.error:.1e} (relative L2)"


def _turn_off(check: Check, device: torch.device) -> None:
    """As if a call had found it out."""
    why = f"self-test: {check.wrong}"
    if check.op in selftest_cases.FRONT_ENDS:
        quarantine.add_size(check.n_fft, device, check.op == "features_gradient", why)
    else:
        call = selftest_cases.call(check.op, check.n_fft)[1]
        quarantine.add_plan((call.plan, device, call.way), why)


def _warn_of(failed: list[Check], here: dict[str, str]) -> None:
    """One warning for all that failed, at the line of the program that made the call."""
    if not failed:
        return
    titles = {"features": "fused front ends", "features_gradient": "gradients of fused front ends"}
    what = (f"{titles.get(one.op, f'torch.{one.op}')} n_fft={one.n_fft} ({one.wrong})" for one in failed)
    text = (
        f"mps_spectro_patch: the self-test failed for {', '.join(what)}. torch's own functions are used instead. "
        f"Please report this: open an issue of mps_spectro_patch with this message and the file "
        f"{_path(here)}, or the output of `python -m mps_spectro_patch doctor`."
    )
    warnings.warn(text, RuntimeWarning, stacklevel=call_sites.caller()[1])


def _path(here: dict[str, str]) -> Path:
    name = hashlib.sha256(json.dumps(here, sort_keys=True).encode()).hexdigest()[:16]
    return cache_directory() / f"selftest-{name}.json"


def _recorded(here: dict[str, str]) -> Outcome | None:
    with contextlib.suppress(OSError):
        return read_json(_path(here), partial(_checked, here))
    return None


def _checked(here: dict[str, str], data: Any) -> Outcome:
    """As far as it is one of ours: what passed is not tried again, and what failed is tried."""
    outcome = Outcome(data["environment"], [Check(**check) for check in data["checks"]], data["seconds"])
    for check in outcome.checks:
        is_known = type(check.n_fft) is int and (check.op, check.n_fft) in planned(SIZES)
        if not is_known or not isinstance(check.wrong, str):
            raise ValueError(f"nothing that was tried: {check}")
    if outcome.environment != here:
        raise ValueError("recorded in another environment")
    return outcome


def _record(outcome: Outcome) -> None:
    with contextlib.suppress(OSError):  # a full or read-only disk costs a second next time
        write_file(_path(outcome.environment), json.dumps(asdict(outcome), indent=1).encode())
