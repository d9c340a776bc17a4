"""`mps-spectro-patch run [options] PROGRAM arguments`: an unchanged program, accelerated, and what came of it.

This process becomes `python PROGRAM arguments`: the same interpreter with the same flags, so that the program sees what
it always sees. Python imports door/sitecustomize.py before the program, because PYTHONPATH names its folder; there
inside.py begins. Child processes inherit the options by environment variables. They are accelerated where the .pth file
is installed (autoload.py), and are not in the report.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from pkgutil import get_importer
from typing import NoReturn

from .. import autoload, startup
from ..errors import CommandError
from .inside import VARIABLE, say

_DOOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "door")


def run_program(options: Namespace) -> NoReturn:
    """The command: does not return. Raises CommandError for what a person can put right."""
    command = options.command_line
    if not command:
        raise CommandError("what shall be run? A script, -m and a module, or a program on PATH")
    is_file = not (options.is_module or options.is_code or command[0] == "-")
    found = find_program(command[0]) if is_file else ""
    if options.trace:
        options.trace = options.trace.absolute()  # the program may change the folder
        _check_writable(options.trace)
    _set_environment(options)
    if not found or is_ours_to_run(found):
        _let_python_look_in(options)
        what = ["-m"] * options.is_module + ["-c"] * options.is_code + [found or command[0]]
        _become(sys.executable, [sys.executable, *_flags(), *what, *command[1:]])
    if options.stats or options.trace:
        say(f"{found} is no program of this Python: --stats and --trace cannot look inside")
    elif "python" in os.path.basename(_interpreter(found)):
        other = f"a program of another Python, {_interpreter(found)}"
        say(f"{found} is {other}: it is accelerated only if this package is installed there")
    _become(found, command)


def _become(program: str, command: Sequence[str]) -> NoReturn:
    try:
        os.execv(program, command)
    except OSError as error:
        raise CommandError(f"cannot run {program}: {error.strerror}") from None


def _flags() -> list[str]:
    """Those that this Python was started with, as -u and -X dev."""
    flags = sys.orig_argv[1 : -len(sys.argv)]
    if flags and flags[-1].startswith("-") and flags[-1].endswith(("m", "c")):  # -m mps_spectro_patch, also as in -um
        flags[-1:] = [] if len(flags[-1]) == 2 else [flags[-1][:-1]]
    return flags


def _let_python_look_in(options: Namespace) -> None:
    if sys.flags.ignore_environment or sys.flags.no_site:
        instead = f"where autoload is on, {startup.VARIABLE}=1 python -I script.py does"
        raise CommandError(f"with -I, -E and -S Python does not look at what `run` sets: {instead}")
    asked = {"stats": options.stats, "trace": options.trace and str(options.trace), "both_ways": options.both_ways}
    path = os.environ.get("PYTHONPATH")
    os.environ[VARIABLE] = json.dumps({**asked, "tell_of_children": not autoload.installed(), "path": path})
    os.environ["PYTHONPATH"] = _DOOR + os.pathsep + path if path else _DOOR


def _check_writable(file: Path) -> None:
    """Before the program runs, which may take hours."""
    try:
        is_new = not file.exists()
        file.open("ab").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise CommandError(f"cannot write {file}: {error.strerror}") from None


def _set_environment(options: Namespace) -> None:
    os.environ[startup.VARIABLE] = "1"
    for name in ("devices", "reach", "verify", "torchaudio"):
        value = getattr(options, name)
        if value is not None:
            os.environ[f"{startup.VARIABLE}_{name.upper()}"] = value


def find_program(name: str) -> str:
    """The file of that name, or the program: one of this Python before those on PATH, which may be another's."""
    if os.path.exists(name):
        return name
    folders = [os.path.dirname(sys.executable), sysconfig.get_path("scripts")]
    found = shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)
    if found is None:
        raise CommandError(f"{name}: no such file, and no such program on PATH")
    return found


def is_ours_to_run(path: str) -> bool:
    """Whether this very Python would run it: a script, or a program that was installed beside this interpreter."""
    if os.path.isdir(path) or path.endswith((".py", ".pyw", ".pyz", ".pyc")):
        return True
    interpreter = _interpreter(path)
    if not interpreter:
        return not os.access(path, os.X_OK) or get_importer(path) is not None  # an archive
    is_beside = os.path.dirname(interpreter) == os.path.dirname(sys.executable)
    return interpreter == "/usr/bin/env python" or (is_beside and "python" in os.path.basename(interpreter))


def _interpreter(path: str) -> str:
    """What the first line of a program names, or nothing."""
    try:
        with open(path, "rb") as file:
            first = file.readline(512)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
    words = first[2:].split() if first.startswith(b"#!") else []
    if words and words[0].endswith(b"/env"):
        return "/usr/bin/env python" if b"python" in first else "/usr/bin/env"
    return words[0].decode(errors="replace") if words else ""
