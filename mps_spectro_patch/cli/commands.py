"""The command line: `python -m mps_spectro_patch COMMAND`, also installed as `mps-spectro-patch`.

Each command lives in its own file and is imported only when it is called. What a person can put right ends with
exit code 2 and one sentence; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import CommandError


def main(arguments: Sequence[str] | None = None) -> int:
    sys.stdout = sys.stdout or open(os.devnull, "w")  # None where it was closed before we started
    sys.stderr = sys.stderr or open(os.devnull, "w")
    try:
        try:
            options = _parser().parse_args(arguments)
            return options.command(options)
        finally:  # argparse ends the process behind --help
            sys.stdout.flush()
    except CommandError as error:
        return _refused(error)
    except BrokenPipeError:  # as in `doctor | head`
        _write_no_more()
        return 128 + 13  # as a shell tells of SIGPIPE
    except KeyboardInterrupt:
        print("mps-spectro-patch: interrupted", file=sys.stderr)
        return 128 + 2  # and of SIGINT
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _write_no_more()
        return _refused("there is no space left on the device that this is written to")


def _refused(why: object) -> int:
    print(f"mps-spectro-patch: {why}", file=sys.stderr)
    return 2


def _write_no_more() -> None:
    """Python flushes stdout once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    from ..version import __version__

    parser = argparse.ArgumentParser(prog="mps-spectro-patch", description="Faster torch.stft and torch.istft on GPUs.")
    parser.add_argument("--version", action="version", version=f"mps-spectro-patch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add(commands, _status, "what would be patched in a program that starts here and now")
    _add_doctor(commands)
    autoload = _add(commands, _autoload, "whether MPS_SPECTRO_PATCH=1 reaches every program")
    autoload.add_argument("action", choices=("on", "off", "status"))
    _add_demo(commands)
    _add_bench(commands)
    return parser


def _add(commands: argparse._SubParsersAction, command: Callable, words: str, **more: Any) -> argparse.ArgumentParser:
    """The parser of a command, which has the name of its function, and the docstring as its description."""
    name = command.__name__.removeprefix("_")
    parser = commands.add_parser(name, help=words, description=command.__doc__, **more)
    parser.set_defaults(command=command)
    return parser


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=("mps", "cuda", "simulator"), help="default: the best one on this machine")


def _check_options(**given: str | None) -> None:
    """Those given, and those of the environment."""
    from ..options import Options

    try:
        Options.resolve(**given)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _add_run(commands: argparse._SubParsersAction) -> None:
    usage = "%(prog)s [options] (script.py | -m module | -c code | - | program) [arguments ...]"
    run = _add(commands, _run, "run an unmodified program, accelerated", usage=usage)
    run.add_argument("-m", dest="is_module", action="store_true", help="what follows is a module, as after `python -m`")
    run.add_argument("-c", dest="is_code", action="store_true", help="what follows is code, as after `python -c`")
    run.add_argument("--devices", help="any of mps, cuda, simulator, with commas (default: mps)")
    run.add_argument("--reach", help="attribute, references or dispatcher (default: attribute)")
    run.add_argument("--verify", help="first, always or off (default: first)")
    run.add_argument(
        "--torchaudio", action="store_const", const="1", help="torchaudio's mel spectrograms are fused, too"
    )
    run.add_argument("--stats", action="store_true", help="at the end, a table of all calls by line, on stderr")
    run.add_argument("--trace", type=Path, metavar="FILE", help="write every call to FILE, for chrome://tracing")
    run.add_argument("--compare", action="store_true", help="plain and accelerated in turns: times and differences")
    run.add_argument("--turns", type=int, default=3, help="of --compare (default: %(default)s)")
    run.add_argument("--both-ways", metavar="FILE", help=argparse.SUPPRESS)  # of --compare, for one of its processes
    run.add_argument("command_line", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _run(options: argparse.Namespace) -> int:
    """Runs a Python program, unchanged, with torch.stft and torch.istft accelerated, as `python` would run it. Its
    child processes are accelerated too where autoload is on."""
    _check_options(devices=options.devices, reach=options.reach, verify=options.verify)
    if options.compare:
        from .comparing import compare_program

        return compare_program(options)
    from .running import run_program

    return run_program(options)


def _status(options: argparse.Namespace) -> int:
    from .. import autoload
    from ..diagnostics import status

    _check_options()
    print(status())
    print(autoload.status())
    return 0


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    tune = (
        "only measure here which calls torch does faster, and leave those to it from now on; `--tune off` forgets that"
    )
    doctor = _add(commands, _doctor, "check that everything works here")
    _add_device(doctor)
    doctor.add_argument("--json", action="store_true", help="everything as JSON, for a bug report")
    doctor.add_argument("--full", action="store_true", help="every kernel and more sizes: minutes on the simulator")
    first = (
        "everything that one run tells of a new kind of machine, as a page for an issue and JSON (default: %(const)s)"
    )
    doctor.add_argument(
        "--first-run", nargs="?", const=Path("first_run_output"), type=Path, metavar="FOLDER", help=first
    )
    doctor.add_argument("--tune", nargs="?", const="measure", choices=("measure", "off"), help=tune)


def _doctor(options: argparse.Namespace) -> int:
    """Looks at the environment, compiles the kernels, compares them with float64, forward and backward, and times them
    against torch. Ends in one line: healthy, or what is wrong. Exit status 0 or 1. With --first-run minutes of all that
    can be measured, for a machine that nobody has tried before."""
    from ..diagnostics import run_doctor, run_first, run_tuning

    _check_options()
    if options.first_run:
        return run_first(options.device, options.first_run)
    if options.tune:
        return run_tuning(options.device, options.tune == "off", options.json)
    return run_doctor(options.device, options.json, options.full)


def _autoload(options: argparse.Namespace) -> int:
    """Installs, removes or shows the two-line .pth file by which MPS_SPECTRO_PATCH=1 accelerates any program of this
    Python. An ordinary installation brings it, an editable one does not."""
    from ..autoload import run_autoload

    return run_autoload(options.action)


def _add_demo(commands: argparse._SubParsersAction) -> None:
    demo = _add(commands, _demo, "run an unmodified program on real audio, plain and accelerated")
    demo.add_argument("audio", nargs="?", type=Path, help="a PCM WAV file (default: the recording that comes with it)")
    demo.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for results (default: %(default)s)")
    _add_device(demo)


def _demo(options: argparse.Namespace) -> int:
    """Runs examples/denoise.py, a program that only knows torch, on a sound: once as it is and once accelerated. Writes
    both results and says what went which way, how much the results differ, and how long each took."""
    from .demo import run_demo

    _check_options()
    return run_demo(options.audio, options.out, options.device)


def _add_bench(commands: argparse._SubParsersAction) -> None:
    peers = "also torchaudio and nnAudio where they are installed, and mps-spectro's approach"
    compare = "only print what changed between two results"
    bench = _add(commands, _bench, "time everything against torch, and against peers")
    bench.add_argument("--out", type=Path, default=Path("bench_output"), help="folder (default: %(default)s)")
    _add_device(bench)
    bench.add_argument("--tables", help="some of stft,istft,gradient,roundtrip,separator,mel,dynamic, or none")
    bench.add_argument("--quick", action="store_true", help="fewer cases and repeats")
    bench.add_argument("--peers", action="store_true", help=peers)
    bench.add_argument("--sweep", action="store_true", help="also every size from one frame to 100 MB")
    bench.add_argument("--dispatch-profile", action="store_true", help="also what a call costs the program itself")
    bench.add_argument("--compare", nargs=2, type=Path, metavar=("A.json", "B.json"), help=compare)
    bench.add_argument("--predict", action="store_true", help="only print what Apple GPUs are predicted to need")


def _bench(options: argparse.Namespace) -> int:
    """Times torch's own functions and this package's, in one run and in turns, on the device that is there. Writes
    tables as Markdown and JSON, and a picture where matplotlib is installed. Minutes; --quick takes less."""
    from ..bench import run_bench

    _check_options()
    return run_bench(options)
