"""What a core of an Apple GPU holds of each plan: registers, threadgroup memory, threadgroups per core.

    python benchmarks/occupancy.py            # says whether benchmarks/results/apple-occupancy.csv is that of the plans
    python benchmarks/occupancy.py --write    # writes it: look at the difference before committing it

Nothing here was measured. Registers are those of the compiled kernel (benchmarks/apple_code, without LICM) where there
is one of that size, and estimated elsewhere: `registers_from` says which. What a core has is published for M1 and M2
(metal-benchmarks by P. Turner: one set of figures for the families Apple7 and Apple8). For M3 to M5, whose registers
and threadgroup memory are parts of one cache and are given out as a kernel goes, there is no published figure that we
know of: their columns are those of M2, and say so.
`spilled`: registers of a thread beyond those that a threadgroup of its size can have, which the compiler would put into
memory.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mps_spectro_patch.kernels.launch import features
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.fft import Plan

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.apple_code import results

TABLE = results.RESULTS / "apple-occupancy.csv"


@dataclass(frozen=True)
class Core:
    """What one core has for the threadgroups on it."""

    register_bytes: int
    threadgroup_bytes: int  # one threadgroup may have 32 KB of it
    registers_max: int = 128  # 32-bit ones that a thread can have before it spills


_PUBLISHED = Core(register_bytes=208 * 1024, threadgroup_bytes=60 * 1024)
CORES = {
    "M1": _PUBLISHED, "M2": _PUBLISHED, "M3 (as M2)": _PUBLISHED, "M4 (as M2)": _PUBLISHED, "M5 (as M2)": _PUBLISHED
}  # fmt: skip
_SMALLEST = _PUBLISHED  # for the columns that are not of one chip
_ADDRESSES = 24  # registers for positions, pointers and loops: what the stft kernel has beyond its values on an H100
_BANDS = 80


@dataclass(frozen=True)
class Launched:
    """A plan as one kind of kernel runs it."""

    kind: str  # "stft", "istft", "registers" (istft, the overlap in them), "general", "features", "gradient" (of these)
    n: int  # n_fft; the smallest that has this plan, where several have
    plan: Plan
    threadgroup_bytes: int
    shifts: tuple[int, ...] = ()  # "registers": the hops, in n_fft / last radix

    @property
    def compiled(self) -> results.Row | None:
        """The kept result of this kernel."""
        names = {"stft": "stft", "istft": f"istft, {self.plan.overlap}", "features": "log-mel",
                 "gradient": f"gradient of log-mel {_BANDS}"}  # fmt: skip
        if any(4 * shift == self.plan.radices[-1] for shift in self.shifts):
            names["registers"] = "istft, hop n/4"
        found = _kept().find(names[self.kind], self.n) if self.kind in names else None
        return found if found and found.local_bytes == self.threadgroup_bytes else None

    @property
    def registers(self) -> int:
        """32-bit ones of a thread. Estimated: its values, a butterfly's temporaries and twiddles, and what it keeps
        besides."""
        if self.compiled is not None:
            return -(-self.compiled.demand // 2)
        which = self.plan
        ends = which.radices[0], which.radices[-1]
        first, last = (radix * -(-(which.half // radix) // which.lanes) for radix in ends)
        kept = {"stft": first, "features": first + 1, "gradient": 1, "registers": last}  # a window's part; sums
        return 2 * (which.values + max(which.radices) + kept.get(self.kind, 0)) + _ADDRESSES

    def registers_available(self, core: Core = _SMALLEST) -> int:
        """Where one threadgroup has the core to itself, as max_total_threads_per_threadgroup demands."""
        return min(core.registers_max, core.register_bytes // (4 * self.plan.threads))

    def groups(self, core: Core) -> int:
        """Threadgroups on a core at once."""
        used = 4 * min(self.registers, self.registers_available(core)) * self.plan.threads
        return min(core.register_bytes // used, core.threadgroup_bytes // self.threadgroup_bytes)


@cache
def _kept() -> results.Kept:
    return results.read()


def launched() -> Iterator[Launched]:
    sizes = fft.supported_sizes()
    for kind, of in (("stft", fft.stft_plan), ("istft", fft.istft_plan)):
        for n in sizes:
            which = of(n)
            yield Launched(kind, n, which, which.threadgroup_bytes)
    for n in sizes:
        yield from _in_registers(n)
    general: dict[Plan, int] = {}
    for points in range(1, fft.MAX_N_FFT + 1):  # those of complex frames are those of all
        if points <= fft.MAX_BLUESTEIN_POINTS or fft.supports_real(2 * points):
            general.setdefault(fft.transform(points, True).plan, points)
    for which, n in general.items():
        yield Launched("general", n, which, which.threadgroup_bytes)
    seen: set[tuple] = set()
    for n in range(2, fft.MAX_N_FFT + 1):
        if not fft.supports(n):
            continue
        for kind in ("features", "gradient"):
            found = _of_features(kind, n)
            key = found and (kind, fft.supports_real(n), found.plan, found.threadgroup_bytes)
            if found and key not in seen:
                seen.add(key)
                yield found


def _in_registers(n: int) -> Iterator[Launched]:
    """The plans of all hops; hops that differ in nothing here share a row."""
    shifts: dict[tuple, list[int]] = {}
    plans: dict[tuple, Plan] = {}
    for radix in set(fft.stft_plan(n).radices):
        for shift in range(1, radix + 1):
            which = fft.registers_plan(n, n // radix * shift)
            if which is not None:
                key = which.radices, which.frames, which.spread, which.threadgroup_bytes
                plans.setdefault(key, which)
                if which.shift not in shifts.setdefault(key, []):
                    shifts[key].append(which.shift)
    for key in sorted(shifts):
        which = plans[key]
        yield Launched("registers", n, which, which.threadgroup_bytes, tuple(sorted(shifts[key])))


def _of_features(kind: str, n: int) -> Launched | None:
    """With a mel filterbank of 80 bands, or where memory is too small for that without; None if there is no kernel."""
    is_gradient = kind == "gradient"
    if is_gradient and features._fits_adjoint(n, _BANDS):
        which = fft.istft_plan(n)
        return Launched(kind, n, which, which.threadgroup_bytes)
    program = features._program(n, _BANDS, is_gradient) or features._program(n, 0, is_gradient)
    if program is None:
        return None
    return Launched(kind, n, program.plan, 8 * program.plan.frames * program.slot_pairs)


def rows() -> list[dict[str, object]]:
    return [_row(one) for one in launched()]


def _row(one: Launched) -> dict[str, object]:
    which = one.plan
    return {
        "kind": one.kind, "n_fft": one.n, "radices": "x".join(map(str, which.radices)),
        "overlap": which.overlap or "-", "shifts": " ".join(map(str, one.shifts)) or "-", "threads": which.threads,
        "registers": one.registers, "registers_from": "compiler" if one.compiled else "estimate",
        "spilled": max(0, one.registers - one.registers_available()),
        "threadgroup_bytes": one.threadgroup_bytes,
        **{chip: one.groups(core) for chip, core in CORES.items()},
        "threads_per_core": one.groups(_SMALLEST) * which.threads,
    }  # fmt: skip


def table() -> str:
    lines = rows()
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        TABLE.write_text(table())
        return 0
    is_current = TABLE.exists() and TABLE.read_text() == table()
    print("current" if is_current else f"{TABLE.name} is not that of the plans: run with --write")
    return 0 if is_current else 1


if __name__ == "__main__":
    sys.exit(main())
