"""The command line: `python -m mps_spectro_patch COMMAND`, also installed as `mps-spectro-patch`.

Each command lives in its own file and is imported only when it is called. What a person can put right ends with
exit code 2 and one sentence; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


class CommandError(Exception):
    """Something the person at the keyboard can put right, in a sentence that tells what."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except CommandError as error:
        print(f"mps-spectro-patch: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = argparse.ArgumentParser(prog="mps-spectro-patch", description="Faster torch.stft and torch.istft on GPUs.")
    parser.add_argument("--version", action="version", version=f"mps-spectro-patch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction) -> None:
    text = (
        "Runs examples/denoise.py, a program that only knows torch, on a sound: once as it is and once accelerated. "
        "Writes both results and says what went which way, how much the results differ, and how long each took."
    )
    demo = commands.add_parser("demo", help="run an unmodified program on real audio, plain and accelerated",
                               description=text)
    demo.add_argument("audio", nargs="?", type=Path, help="a PCM WAV file (default: the recording that comes with it)")
    demo.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for results (default: %(default)s)")
    demo.add_argument("--device", choices=("mps", "cuda", "simulator"), help="default: the best one on this machine")
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from .demo import run

    return run(options.audio, options.out, options.device)
