"""`mps-spectro-patch doctor`: the environment, and what doctor_kernels.py and its likes find on the device.

Ends in one line: healthy, or exactly what is wrong. The JSON is for bug reports.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import platform
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .. import autoload, compat
from ..bench import Progress
from ..execution import best_device, check_device, chip, device_error, require_device, tuning
from ..patching import disable, enable
from . import doctor_front_ends, doctor_kernels, doctor_losses, doctor_tuning
from .doctor_kernels import Finding
from .patch_status import status
from .versions import OLDEST_TORCH, is_too_old, numbers


def run_doctor(device: str | None = None, as_json: bool = False, full: bool = False) -> int:
    """The command: 0 if healthy, else 1. Raises CommandError for a device that torch does not find."""
    device = device or best_device()
    require_device(device)
    findings = []
    # What is checked is the kernels, for small calls, too.
    with tuning.ignored(), Progress(len(CHECKS)) as progress:
        for finding in examine(device, full or device != "simulator", progress.step):
            findings.append(finding)
            if not as_json:
                progress.say(_line(finding))
    wrong = [finding for finding in findings if finding.ok is False]
    words = verdict(device, wrong)
    if as_json:
        facts = {"healthy": not wrong, "verdict": words, "device": device, "findings": list(map(vars, findings))}
        print(json.dumps({**facts, "status": str(status())}, indent=1, default=str))
    else:
        print(words)
    return 1 if wrong else 0


def run_tuning(device: str | None, forget: bool, as_json: bool = False) -> int:
    """`--tune`: measures and keeps the rule of which calls go to torch, or forgets it."""
    device = device or best_device()
    check_device(device)
    findings = [doctor_tuning.keep_rule(device, {})] if forget else doctor_tuning.measure_rule(device)
    facts = {"device": device, "findings": list(map(vars, findings))}
    print(json.dumps(facts, indent=1) if as_json else "\n".join(map(_line, findings)))
    return 0


def examine(device: str, full: bool, tell: Callable[[str], None] = lambda name: None) -> Iterator[Finding]:
    """All checks, one after the other. tell(name): called before each."""
    for name, check in CHECKS.items():
        tell(name)
        try:
            for finding in check(device, full):
                yield finding
                if name == "device" and finding.ok is False:
                    return  # everything after it would say the same
        except Exception as error:
            words = f"the check itself failed: {type(error).__name__}: {error}"
            yield Finding(name, False, words, {"traceback": traceback.format_exc()})


def verdict(device: str, wrong: list[Finding]) -> str:
    """The one line at the end."""
    if wrong:
        what = "; ".join(f"{finding.check}: {finding.words}" for finding in wrong)
        return f"NOT healthy: {what}. Please paste the output of `mps-spectro-patch doctor --json` into a bug report."
    if device == "simulator":
        return "healthy: the kernels are right in the simulator (there is no GPU that they could run on here)"
    return f"healthy: {device} is accelerated"


def sources(full: bool) -> Iterator[tuple[str, str, str, int]]:
    return itertools.chain(doctor_kernels.sources(full), doctor_front_ends.sources(full), doctor_losses.sources(full))


def environment() -> Iterator[Finding]:
    macos = platform.mac_ver()[0]
    versions = {name: _version(name) for name in ("mps-spectro-patch", "torch", "wrapt", "torchaudio")}
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    system = f"macOS {macos}" if macos else platform.platform()
    yield Finding("environment", None, f"{system}, {chip()}, Python {platform.python_version()}, {found}", {
        "python": sys.version, "platform": platform.platform(), "macos": macos, "chip": chip(), "versions": versions,
        "autoload": autoload.status(),
    })  # fmt: skip
    too_old = is_too_old(torch.__version__)
    needed = f", {OLDEST_TORCH} or newer is needed" if too_old else ""
    yield Finding("torch", not too_old, f"torch {torch.__version__}{needed}")


def has_device(device: str) -> Iterator[Finding]:
    data: dict[str, Any] = {"mps built": torch.backends.mps.is_built(), "cuda": torch.version.cuda}
    if device == "mps":
        ok = torch.backends.mps.is_available() and hasattr(torch.mps, "compile_shader")
        for name, ask in (("memory", "recommended_max_memory"), ("name", "get_name"), ("cores", "get_core_count")):
            data[name] = _asked(torch.mps, ask) or _asked(torch.backends.mps, ask)
        words = f"{data['name'] or 'Apple GPU'}, {data['cores'] or '?'} cores, memory {data['memory'] or '?'} bytes"
    elif device == "cuda":
        ok = torch.cuda.is_available()
        words = torch.cuda.get_device_name() if ok else "no CUDA device"
    else:
        ok, words = True, "the simulator, on the CPU: for checking, not for speed"
    error = device_error(device) if ok else None
    if error is not None:
        yield Finding("device", False, f"{device} runs no kernel: {type(error).__name__}: {error}", data)
    else:
        yield Finding("device", ok, words if ok else f"{device} cannot be used here", data)


def patches() -> Iterator[Finding]:
    """Whether the patch goes on and off, and who else is at torch's functions."""
    disable()  # MPS_SPECTRO_PATCH=1 may have been at work
    functions = {op: getattr(torch, op) for op in ("stft", "istft")}
    own = {"stft": torch.functional.stft, "istft": torch._VF.istft}
    for op, function in functions.items():
        if function is not own[op]:
            name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
            yield Finding("neighbours", None, f"torch.{op} is {name}, not torch's own", {"function": repr(function)})
    done = enable()
    patched = [op for op, function in functions.items() if getattr(torch, op) is not function]
    disable()
    back = [op for op, function in functions.items() if getattr(torch, op) is function]
    words = f"on: {', '.join(patched)}; off again: {', '.join(back)}"
    yield Finding("patch", len(patched) == len(back) == 2, words, {"enable": str(done)})
    early = status().early_references
    if early:
        yield Finding("early references", None, f"{', '.join(early)} would be missed", {"names": early})


def projects() -> Iterator[Finding]:
    """Installed projects against the versions that were tested."""
    known = {one.distribution: one.tested for one in map(compat.load, compat.NAMES) if one.distribution and one.tested}
    for name, (least, below) in sorted(known.items()):
        version = _version(name)
        if version is not None:
            tested = numbers(least) <= numbers(version) < numbers(below)
            words = f"{version}, " + ("tested" if tested else f"not tested (from {least} on, before {below})")
            yield Finding(name, None, words, {"tested": tested})


def plans() -> Iterator[Finding]:
    bad = status().quarantined
    if bad:
        data = {"failed": [f"{entry.plan} on {entry.device}: {entry.why}" for entry in bad]}
        yield Finding("plans", False, f"{len(bad)} are not used any more", data)


def _line(finding: Finding) -> str:
    mark = {True: "ok  ", False: "BAD ", None: "    "}[finding.ok]
    lines = [f"{mark} {finding.check}: {finding.words}"]
    lines += [f"       {what}" for what in finding.data.get("failed", ())]
    return "\n".join(lines)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _asked(module: Any, name: str) -> Any:
    try:
        return getattr(module, name)()
    except (AttributeError, RuntimeError):  # newer than this torch, or not on this machine
        return None


CHECKS: dict[str, Callable[[str, bool], Iterator[Finding]]] = {
    "environment": lambda device, full: environment(),
    "device": lambda device, full: has_device(device),
    "patch": lambda device, full: patches(),
    "kernels": lambda device, full: doctor_kernels.compiles(device, sources(full)),
    "results": lambda device, full: doctor_kernels.is_right(device, full),
    "front ends": lambda device, full: doctor_front_ends.are_right(device, full),
    "losses": lambda device, full: doctor_losses.are_right(device, full),
    "speed": lambda device, full: doctor_kernels.is_fast(device),
    "projects": lambda device, full: projects(),
    "plans": lambda device, full: plans(),
}
