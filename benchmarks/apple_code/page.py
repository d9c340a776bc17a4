"""What is made of the kept results: a page for people, the cycles that predictions are made of, the table of occupancy.

python -m benchmarks.apple_code.page       # when the page or what it says has changed, and no kernel
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from mps_spectro_patch.bench import markdown, prediction
from mps_spectro_patch.bench.prediction import Chip
from mps_spectro_patch.kernels.plans import fft

from . import kernels, results
from .results import Kept, Row

PAGE = results.TABLE.with_suffix(".md")
CYCLES = Path(prediction.__file__).with_name("apple_cycles.json")
CHIPS = ("Apple M1", "Apple M2 Pro", "Apple M3 Max", "Apple M4", "Apple M4 Max")
USUAL = (400, 512, 1024, 2048, 4096)
DEMAND_MAX = 232  # registers of 16 bits with which 448 threads are on a core
HEAD = """# The kernels' machine code for Apple GPUs

Metal text {digest}. {versions}.
Made by `python -m benchmarks.apple_code`; the whole table is [{table}]({table}).

Every kernel was compiled, unmodified, to the machine code of Apple's G13 GPU (M1) by Mesa's open compiler, which is not
Apple's, and nothing ran on a GPU: registers, instructions and spills are evidence, times are not to be had. On the CPU
the same code was run by PoCL and compared with float64: {ran} kernels, the largest error of a transform {error}.

* demand: registers of 16 bits that live at once; a thread can have 256. Without and with LLVM's loop-invariant code
  motion: a good compiler is between the two. spills: of either.
* threads: of a core, by registers; groups: threadgroups of a core at once, and what limits them.
* steady: instructions and ALU cycles of the way of almost all frames, without that motion; a loop whose length is an
  argument counts once.
"""


def write(kept: Kept) -> None:
    CYCLES.write_text(cycles_text(kept))
    prediction.cycles.cache_clear()
    PAGE.write_text(text(kept))


def text(kept: Kept) -> str:
    errors = [float(row.error) for row in kept.rows if row.error]
    transforms = [float(row.error) for row in kept.rows if row.error and row.kernel.startswith(("stft", "istft"))]
    head = HEAD.format(
        digest=kept.digest,
        versions=kept.versions,
        table=results.TABLE.name,
        ran=len(errors),
        error=f"{max(transforms):.1e}",
    )
    parts = [head, "## What stands out", "", *_findings(kept), "", "## Kernels", "", *_kernels(kept), ""]
    parts += ["## Arithmetic against memory", "", *_balance(kept), "", "## Other kernels of tests/conformance", ""]
    return "\n".join([*parts, *_representatives(kept)]) + "\n"


def _pairs(kept: Kept, variant: str = "full") -> Iterator[tuple[Row, Row]]:
    """Without LICM and with it."""
    chosen = [row for row in kept.rows if row.variant == variant]
    return zip(chosen[::2], chosen[1::2], strict=True)


def is_listed(row: Row) -> bool:
    return not row.kernel.startswith("msp_")


def spilling(kept: Kept, largest: int = 8192) -> list[tuple[Row, Row]]:
    """Of the list up to a size: those that spill or use scratch memory, in either setting."""
    listed = [pair for pair in _pairs(kept) if is_listed(pair[0]) and pair[0].n_fft <= largest]
    return [pair for pair in listed if any(row.spills or row.fills or row.scratch for row in pair)]


def demanding(kept: Kept) -> list[tuple[Row, Row]]:
    """stft, istft and log-mel of the usual sizes that need more registers than leave 448 threads on a core."""
    return [
        pair for pair in _pairs(kept)
        if pair[0].n_fft in USUAL and pair[0].kernel.startswith(("stft", "istft", "log-mel"))
        and max(row.demand for row in pair) > DEMAND_MAX
    ]  # fmt: skip


def _findings(kept: Kept) -> list[str]:
    def named(pairs: list[tuple[Row, Row]], what: str) -> list[str]:
        by_kernel: dict[str, list[str]] = {}
        for a, b in pairs:
            numbers = f"{a.n_fft} ({getattr(a, what)} / {getattr(b, what)})"
            by_kernel.setdefault(re.sub(r", (gather|ring|device)$", "", a.kernel), []).append(numbers)
        return [f"  * {kernel}: {', '.join(sizes)}" for kernel, sizes in by_kernel.items()]

    listed = sum(1 for a, _ in _pairs(kept) if is_listed(a) and a.n_fft <= 8192)
    spills = spilling(kept)
    usual = ", ".join(map(str, USUAL))
    return [
        f"* {len(spills)} of {listed} kernels up to 8192 spill or use scratch memory (spills without / with LICM):",
        *(named(spills, "spills") or ["  * none"]),
        f"* More than {DEMAND_MAX} registers, in stft, istft and log-mel of {usual}:",
        *(named(demanding(kept), "demand") or ["  * none"]),
    ]


def _kernels(kept: Kept) -> list[str]:
    heads = ["kernel", "n_fft", "demand", "spills", "threads", "local bytes", "groups", "limited by", "steady", "ALU",
             "error"]  # fmt: skip
    rows = []
    for a, b in _pairs(kept):
        if not is_listed(a):
            continue
        steady = kept.find(a.kernel, a.n_fft, "steady")
        counts = (f"{steady.instructions}", f"{steady.alu}") if steady else ("", "")
        spills = f"{a.spills} / {b.spills}" if a.spills + b.spills else ""
        rows.append([
            a.kernel, str(a.n_fft), f"{a.demand} / {b.demand}", spills, f"{a.threads} / {b.threads}",
            f"{a.local_bytes:,}", f"{a.groups} / {b.groups}", limited_by(a, b), *counts, a.error,
        ])  # fmt: skip
    return markdown.table(heads, rows)


def limited_by(a: Row, b: Row) -> str:
    """What keeps more threadgroups from a core."""
    by_memory = results.CORE_LOCAL_BYTES // a.local_bytes if a.local_bytes else 0
    words = {"memory" if row.groups == by_memory else "registers" for row in (a, b)}
    return " or ".join(sorted(words)) + (", spills" if a.spills + b.spills else "")


def _balance(kept: Kept) -> list[str]:
    """Million frames a second that arithmetic and memory allow, hop n/4."""
    chips = [one for one in prediction.CHIPS if one.name in CHIPS]
    names = [one.name.removeprefix("Apple ") for one in chips]
    heads = ["kernel", "n_fft", "cycles per frame", "bytes per frame", *names]
    rows = []
    by_kernel = cycles(kept)
    for name, values in (("stft", 2), ("istft in registers", 2), ("log-mel", 0)):
        for n_fft in USUAL:
            count = by_kernel[name].get(str(n_fft))
            moved = n_fft + (4 * values * (n_fft // 2 + 1) if values else 320)  # a hop, and its bins or 80 bands
            if count:
                rows.append(
                    [name, str(n_fft), f"{count:.0f}", f"{moved:,}", *(_allowed(one, count, moved) for one in chips)]
                )
    head = [
        "Million frames a second that arithmetic and memory allow, hop a quarter of n_fft, if latency is hidden: the",
        "smaller of the two is what the counts predict. Cycles are those of simdgroups.", "",
    ]  # fmt: skip
    return head + markdown.table(heads, rows)


def _allowed(chip: Chip, count: float, moved: int) -> str:
    arithmetic, memory = chip.issued / count / 1e6, prediction.BANDWIDTH * chip.bandwidth * 1e3 / moved
    return f"{arithmetic:.0f}, {memory:.0f}: {'memory' if memory < arithmetic else 'arithmetic'}"


def _representatives(kept: Kept) -> list[str]:
    rows = []
    for a, b in _pairs(kept):
        if not is_listed(a):
            both = (f"{getattr(a, what)} / {getattr(b, what)}" for what in ("demand", "spills", "groups"))
            rows.append([a.kernel, str(a.n_fft), *both, a.error])
    return markdown.table(["kernel", "n_fft", "demand", "spills", "groups", "error"], rows)


# --- for predictions -------------------------------------------------------------------------------------------------


def cycles_text(kept: Kept) -> str:
    return json.dumps({"text": kept.digest, "cycles": cycles(kept)}, indent=1) + "\n"


def cycles(kept: Kept) -> dict[str, dict[str, float]]:
    """By kernel and n_fft: ALU cycles of a simdgroup per frame, on the way of almost all frames."""
    found: dict[str, dict[str, float]] = {}
    for name, n_fft, row_name, lanes in _wanted():
        row = kept.find(row_name, n_fft, "steady") or (
            kept.find(row_name, n_fft) if n_fft in kernels.BLUESTEIN else None
        )
        if row is not None:
            found.setdefault(name, {})[str(n_fft)] = round(row.alu * lanes / 32, 1)
    return found


def _wanted() -> Iterator[tuple[str, int, str, int]]:
    for n_fft in (size for size in kernels.SIZES if size in kernels.STEADY):
        lanes, overlap = fft.stft_plan(n_fft).lanes, fft.istft_plan(n_fft).overlap
        for name, row in (
            ("stft", "stft"), ("istft", f"istft, {overlap}"), ("istft in registers", "istft, hop n/4"),
            ("adjoint of stft", f"adjoint of stft, {overlap}"), ("adjoint of istft", "adjoint of istft"),
            ("adjoint of stft in registers", "adjoint of stft, hop n/4"), ("log-mel", "log-mel"),
            ("gradient of log-mel", "gradient of log-mel 80"),
        ):  # fmt: skip
            yield name, n_fft, row, lanes
    for n_fft in kernels.BLUESTEIN:
        lanes = fft.transform(n_fft, False, used=n_fft // 6).plan.lanes
        yield "log-mel of any size", n_fft, "log-mel 80, few bins", lanes


if __name__ == "__main__":
    write(results.read())
