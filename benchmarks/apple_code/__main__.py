"""Compiles the kernels to the machine code of an Apple GPU (G13), and keeps what the compiler says of it.

    benchmarks/apple_code/setup.sh ROOT                 # once, as root
    python -m benchmarks.apple_code ROOT --write        # all kernels; then the page and what follows from it
    python -m benchmarks.apple_code ROOT stft 1024      # those whose names begin so, of one size: prints their lines
    python -m benchmarks.apple_code ROOT --check        # exit status 1 where one is worse than the kept results say

As root, for it works by chroot. What was compiled before is not compiled again, so that a changed kernel takes as long
as itself. It is Mesa's compiler and not Apple's, and nothing runs on a GPU: registers, instructions and spills are
evidence, times are not to be had. Every kernel also runs on the CPU, by PoCL, and is compared with float64.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from mps_spectro_patch.kernels import text_digest
from mps_spectro_patch.kernels.launch import dispatch

from . import calls, kernels, opencl, page, results
from .folder import METHODS, Counts, Failed, Folder, Processor

# They shuffle, and PoCL takes a whole threadgroup for one simdgroup. msp_stft_loss_finish does it in loops that not all
# simdgroups go through; the sums of msp_stft_loss lack some lanes at 600, 1200, 2560, 3072, 5120 and 6144 (why is not
# known; the simulator has them right under any order of threads).
NOT_ON_CPU = {"msp_stft_loss", "msp_stft_loss_finish"}
# By one of PoCL's ways of making loops these end (a segmentation fault in memset; a larger stack does not help), and by
# the other they have wrong numbers. The simulator has them right, between guard pages.
ENDS_ON_CPU = {("msp_kaldi, banded, power 1, clamp", 12500), ("msp_kaldi, banded, power 1, clamp", 15360)}


def variants(one: kernels.Listed) -> dict[str, str]:
    """The texts to compile. Steady: of some sizes, if that is another text, and one that Mesa compiles."""
    text = opencl.written(one.text, one.kernel).text
    steady = opencl.steady(text)
    has_steady = one.n_fft in kernels.STEADY and "loss" not in one.name
    has_steady = has_steady and steady != text and not one.name.startswith("msp_")
    return {"full": text, "steady": steady} if has_steady else {"full": text}


def rows(one: kernels.Listed, compiled: dict[str, dict[int, Counts]], error: float | None) -> list[results.Row]:
    found = []
    for variant, by_licm in compiled.items():
        for licm, counts in by_licm.items():
            shown = f"{error:.1e}" if error is not None and variant == "full" and not licm else ""
            groups = results.groups(counts.threads, one.threads, counts.local_bytes)
            found.append(results.Row(one.name, one.n_fft, variant, licm, **asdict(counts), groups=groups, error=shown))
    return found


def relative_error(call: calls.Call, processor: Processor) -> float:
    """Raises Failed where PoCL fails, or the error is above the operation's limit."""
    own = dispatch.kernel

    def kernel(name: str, defines: str, device_type: str) -> Callable[..., None]:
        return (own if name in NOT_ON_CPU else processor.kernel)(name, defines, device_type)

    with calls.launching(kernel):
        result = call.run()
    expected = call.expected()
    error = float((result - expected).abs().norm() / expected.abs().norm())
    limit = calls.OPERATIONS[call.operation].limit
    if not error <= limit:
        raise Failed(f"{call.operation} {call.n_fft}: error {error:.1e}, at most {limit:.0e}")
    return error


def known_error(call: calls.Call, processor: Processor) -> float:
    """relative_error(), which the texts and the call determine: worked out once."""
    texts = [dispatch.kernel_text(kernel, defines) for kernel, defines, _ in calls.launches(call)]

    def error() -> float:
        first = None
        for processor.method in METHODS:
            processor.close()
            try:
                return relative_error(call, processor)
            except Failed as failure:
                first = first or failure
        assert first is not None
        raise first

    return processor.folder.remembered(f"{call}{texts}", error)


def measured(one: kernels.Listed, processor: Processor, on_cpu: bool) -> tuple[list[results.Row], str]:
    """The lines of the table, and what failed."""
    try:
        compiled = {variant: processor.folder.compile(text) for variant, text in variants(one).items()}
        error = None
        runs = one.kernel not in NOT_ON_CPU and (one.name, one.n_fft) not in ENDS_ON_CPU
        if on_cpu and one.calls and runs:
            error = known_error(one.calls[0], processor)
        return rows(one, compiled, error), ""
    except (Failed, ValueError, RuntimeError) as failure:
        return [], f"{one.name} {one.n_fft}: {failure}"


def _measured(given: tuple[kernels.Listed, Path, bool]) -> tuple[list[results.Row], str]:
    """In a process of its own, which keeps its PoCL."""
    one, root, on_cpu = given
    torch.set_num_threads(1)
    return measured(one, _processor(root), on_cpu)


@cache
def _processor(root: Path) -> Processor:
    return Processor(Folder(root))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="what setup.sh has set up")
    parser.add_argument("name", nargs="?", default="", help="what the kernels' names begin with")
    parser.add_argument("n_fft", nargs="?", type=int)
    parser.add_argument("--write", action="store_true", help="keep the results of all kernels")
    parser.add_argument("--check", action="store_true", help="exit status 1 where one is worse than what is kept")
    parser.add_argument("--no-cpu", action="store_true", help="do not run what was compiled")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.write and (options.name or options.no_cpu):
        parser.error("what is kept is of all kernels, with their errors")
    chosen = [
        one for one in kernels.listed()
        if one.name.startswith(options.name) and options.n_fft in (None, one.n_fft)
    ]  # fmt: skip
    folder, found, failures = Folder(options.root), [], []
    given = [(one, options.root, not options.no_cpu) for one in chosen]
    with ProcessPoolExecutor(options.jobs) as pool:
        for number, (lines, failure) in enumerate(pool.map(_measured, given), 1):
            found += lines
            failures += [failure] if failure else []
            if failure or number % 20 == 0:
                print(f"{number} of {len(chosen)} {failure}", file=sys.stderr, flush=True)
    text = results.text(text_digest(), folder.versions, found)
    print(text if not options.write else f"{len(chosen)} kernels, {len(found)} lines")
    if options.check:
        failures += results.read().worse(found)
    print("\n".join(failures), file=sys.stderr)
    if options.write and not failures:
        results.TABLE.write_text(text)
        page.write(results.read())
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
