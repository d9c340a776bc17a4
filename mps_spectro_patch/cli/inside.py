"""What `run` does in the process of the program: it enables the patch, watches calls, and tells of them at the end."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
from functools import partial
from typing import Any

from .. import startup

VARIABLE = "MPS_SPECTRO_PATCH_RUN"  # from running.py to here: what was asked for, as JSON


def begin() -> None:
    """Before the program, which finds the environment without what was set for it to come here."""
    options = json.loads(os.environ.pop(VARIABLE))
    if options["path"] is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = options["path"]
    startup.when_torch_is_imported(then=lambda: _begin(options))
    if options["tell_of_children"]:
        sys.addaudithook(_tell_of_children)
    atexit.register(partial(_end, options, os.getpid()))  # after the program's threads and its own exit handlers


_SPAWNING = ("multiprocessing.popen_spawn_posix", "multiprocessing.popen_spawn_win32", "multiprocessing.forkserver")
_told: list[bool] = []


def _tell_of_children(event: str, args: tuple) -> None:
    """Once, when the program starts another Python without the file that would enable the patch there."""
    if event == "subprocess.Popen":
        name = os.path.basename(os.fsdecode(args[0] or args[1][0]))
        is_missed = name.startswith("python") and "_inductor" not in str(args[1])  # whose workers only compile
    else:
        is_missed = event == "import" and args[0] in _SPAWNING
    if is_missed and not _told:
        _told.append(True)
        say(
            "Python processes that the program starts are not accelerated: `mps-spectro-patch autoload on` changes that"
        )


def _begin(options: dict[str, Any]) -> None:
    from ..diagnostics import watch_calls

    if options["stats"] or options["trace"]:
        watch_calls(trace=bool(options["trace"]))
    if options["both_ways"]:
        from . import both_ways

        both_ways.start()


def _end(options: dict[str, Any], process: int) -> None:
    if os.getpid() != process:  # a fork of the program comes by here, too
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or nobody reads it: Python says so, or not
        sys.stdout.flush()
    if options["both_ways"] and "torch" in sys.modules:
        from . import both_ways

        both_ways.write(options["both_ways"])
    if not (options["stats"] or options["trace"]):
        return
    if "torch" not in sys.modules:
        return say("the program did not import torch")
    from ..diagnostics import report, stats, write_trace

    if options["stats"]:
        report().print(sys.stderr)
        print(stats(), file=sys.stderr)
    if options["trace"]:
        try:
            write_trace(options["trace"])
        except OSError as error:
            say(f"cannot write {options['trace']}: {error.strerror}")


def say(words: str) -> None:
    if sys.stderr is not None:
        print(f"mps-spectro-patch: {words}", file=sys.stderr)
