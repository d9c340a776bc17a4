"""`mps-spectro-patch run [options] PROGRAM arguments`: an unchanged program, accelerated, and what came of it.

The program runs in this process, as Python would have run it. Its child processes inherit the options by environment
variables; they act on them where the .pth file is installed (autoload.py), and are not in the report.
"""

from __future__ import annotations

import importlib.machinery
import os
import runpy
import shutil
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import startup
from ..errors import CommandError


@dataclass(frozen=True)
class Request:
    """What to run, and how. command: the program's own command line; is_module: as after `python -m`."""

    command: Sequence[str]
    is_module: bool = False
    devices: str | None = None
    reach: str | None = None
    verify: str | None = None
    stats: bool = False
    trace: Path | None = None


def run_program(request: Request) -> int:
    """The command: the program's exit status. Raises CommandError for what a person can put right."""
    if not request.command:
        raise CommandError("what shall be run? A script, -m and a module, or a program on PATH")
    _check_options(request)
    found = None if request.is_module else _find(request.command[0])
    _set_environment(request)
    if found and not _is_ours_to_run(found):
        if request.stats or request.trace:
            print(f"mps-spectro-patch: {found} is no program of this Python: --stats and --trace cannot look inside",
                  file=sys.stderr)  # fmt: skip
        os.execv(found, [*request.command])
    startup.when_torch_is_imported(then=lambda: _begin(request))
    process = os.getpid()
    try:
        if request.is_module:
            _run_module(*request.command)
        else:
            _run_script(found, request.command[1:])
    finally:
        if os.getpid() == process:  # a fork of the program may come by here, too
            _end(request)
    return 0


def _check_options(request: Request) -> None:
    from ..options import Options

    try:
        Options.resolve(devices=request.devices, reach=request.reach, verify=request.verify)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _set_environment(request: Request) -> None:
    os.environ[startup.VARIABLE] = "1"
    for name in ("devices", "reach", "verify"):
        value = getattr(request, name)
        if value is not None:
            os.environ[f"{startup.VARIABLE}_{name.upper()}"] = value


def _find(name: str) -> str:
    if os.path.exists(name):
        return name
    found = shutil.which(name)
    if found is None:
        raise CommandError(f"{name}: no such file, and no such program on PATH")
    return found


def _is_ours_to_run(path: str) -> bool:
    """Whether this very Python would run it: a script, or a program that was installed beside this interpreter."""
    if os.path.isdir(path) or path.endswith((".py", ".pyw", ".pyz")):
        return True
    with open(path, "rb") as file:
        first = file.readline(512)
    if not first.startswith(b"#!"):
        return not os.access(path, os.X_OK)
    interpreter = first[2:].split()[0].decode(errors="replace") if first[2:].split() else ""
    if interpreter.endswith("/env"):
        return b"python" in first
    return "python" in os.path.basename(interpreter) and os.path.dirname(interpreter) == os.path.dirname(sys.executable)


def _run_module(name: str, *arguments: str) -> None:
    sys.argv = [name, *arguments]
    sys.path[0] = os.getcwd()
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except ImportError as error:
        if getattr(error, "name", None) is None and name in str(error):  # runpy's own, not the program's
            raise CommandError(str(error)) from None
        raise


def _run_script(path: str, arguments: Sequence[str]) -> None:
    sys.argv = [path, *arguments]
    if os.path.isdir(path) or path.endswith(".pyz"):
        runpy.run_path(path, run_name="__main__")
        return
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    try:
        code = Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
    # In a module that stays: what the program leaves behind (threads, exit handlers, pickles) still finds its names.
    module = types.ModuleType("__main__")
    module.__file__, module.__builtins__ = path, __builtins__
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    module.__spec__ = module.__package__ = None
    sys.modules["__main__"] = module
    exec(compile(code, path, "exec", dont_inherit=True), module.__dict__)


def _begin(request: Request) -> None:
    from ..diagnostics import watch_calls

    if request.stats or request.trace:
        watch_calls(trace=request.trace is not None)


def _end(request: Request) -> None:
    sys.stdout.flush()
    if not (request.stats or request.trace):
        return
    if "torch" not in sys.modules:
        print("mps-spectro-patch: the program did not import torch", file=sys.stderr)
        return
    from ..diagnostics import report, stats, write_trace

    if request.stats:
        report().print(sys.stderr)
        print(stats(), file=sys.stderr)
    if request.trace:
        try:
            write_trace(request.trace)
        except OSError as error:
            print(f"mps-spectro-patch: cannot write {request.trace}: {error.strerror}", file=sys.stderr)
