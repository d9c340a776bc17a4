"""The first minute on a Mac: whether the kernels compile, have the properties they count on, and give right numbers.

Runs once for each environment (this package, torch, macOS, chip) in the first enable() for MPS, takes well under a
second and is recorded in the user's cache directory. A plan that fails is not used, and one warning says what to
report. Changes no patch; `run` with more sizes is for the long version.
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
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from ..kernels import cache_directory, fft, read_json, text_digest, write_file
from ..options import ACCELERATORS, ENVIRONMENT, Options, logger
from ..version import __version__
from . import quarantine, selftest_cases
from .shortage import is_shortage

# One plan for each way the kernels have: one simdgroup, several, and on the way back both places for the overlap.
SIZES = (400, 1024, 4096)
FRONT_ENDS = (400, 1024)  # of those, the sizes whose mel kernels are tried as well, forward and gradient
SECONDS = 0.7  # after which no further plan is begun: those left are looked at by verify="first"
SIMD_WIDTH = 32
TOLERANCE = 1e-5  # relative L2 against float64; the kernels reach 3e-7


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


def first(options: Options) -> Outcome | None:
    """The outcome for this environment, made now if there is none on record; failing plans are turned off.

    None where MPS is not asked for or not there, or MPS_SPECTRO_PATCH_SELFTEST=0.
    """
    if "mps" not in options.devices or not torch.backends.mps.is_available():
        return None
    if os.environ.get(f"{ENVIRONMENT}_SELFTEST", "").strip().lower() in ("0", "off", "false", "no"):
        return None
    here = environment()
    outcome = _recorded(here)
    if outcome is None:
        outcome = run(torch.device(ACCELERATORS["mps"]), SIZES, SECONDS)
        _record(outcome)
        logger.info("self-test on %s: %d kernels in %.2f s", here["chip"], len(outcome.checks), outcome.seconds)
    _turn_off(outcome)
    return outcome


def run(device: torch.device, sizes: Iterable[int] = SIZES, seconds: float | None = SECONDS) -> Outcome:
    """Compiles and tries the plans of `sizes` on `device`; seconds=None takes as long as it takes."""
    outcome = Outcome(environment())
    begin = time.perf_counter()
    for op, n_fft in planned(sizes):
        if seconds is not None and time.perf_counter() - begin > seconds:
            break
        check = _check(op, n_fft, device)
        if check is not None:
            outcome.checks.append(check)
    outcome.seconds = time.perf_counter() - begin
    return outcome


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
    """None where memory was short: that is no failure, and verify="first" looks at the plan later."""
    check = Check(op, n_fft)
    begin = time.perf_counter()
    try:
        with torch.inference_mode(False), torch.no_grad():
            check.wrong = _properties(check, device) or _numbers(check, device)
    except Exception as error:  # whatever goes wrong is what this is here to find, and nobody's program may see it
        if is_shortage(error):
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


def _turn_off(outcome: Outcome) -> None:
    """Failing plans are quarantined as if a call had found them out; one warning for all of them."""
    if not outcome.failures:
        return
    device = torch.zeros(0, dtype=torch.float32, device=ACCELERATORS["mps"]).device
    fresh = []
    for check in outcome.failures:
        why = f"self-test: {check.wrong}"
        if check.op in selftest_cases.FRONT_ENDS:
            is_gradient = check.op == "features_gradient"
            is_news = quarantine.add_size(check.n_fft, device, is_gradient, why)
            what = f"{'gradients of ' if is_gradient else ''}fused front ends"
        else:
            is_news = quarantine.add_plan(((check.op, check.n_fft, False), device), why)
            what = f"torch.{check.op}"
        if is_news:
            fresh.append(f"{what} n_fft={check.n_fft} ({check.wrong})")
    if fresh:
        text = (
            f"mps_spectro_patch: the self-test failed for {', '.join(fresh)}. torch's own functions are used instead. "
            f"Please report this: open an issue of mps_spectro_patch with this message and the file "
            f"{_path(outcome.environment)}, or the output of `python -m mps_spectro_patch doctor`."
        )
        warnings.warn(text, RuntimeWarning, stacklevel=4)


def _path(here: dict[str, str]) -> Path:
    name = hashlib.sha256(json.dumps(here, sort_keys=True).encode()).hexdigest()[:16]
    return cache_directory() / f"selftest-{name}.json"


def _recorded(here: dict[str, str]) -> Outcome | None:
    with contextlib.suppress(OSError):
        return read_json(_path(here), partial(_checked, here))
    return None


def _checked(here: dict[str, str], data: Any) -> Outcome:
    """What a failure turns off is looked up: it has to be one that can have been tried."""
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
