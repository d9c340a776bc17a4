"""What a core of an Apple GPU holds of each plan: registers estimated, threadgroup memory, threadgroups per core.

    python benchmarks/occupancy.py            # says whether benchmarks/results/apple-occupancy.csv is that of the plans
    python benchmarks/occupancy.py --write    # writes it: look at the difference before committing it

Nothing here was measured. The figures of a core are published ones (metal-benchmarks by P. Turner, for M1 and M2);
for M3 to M5, whose registers are a cache of the same memory, no other are known and the same are taken. `spilled`:
registers of a thread beyond those that a threadgroup of its size can have, which the compiler would put into memory.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path

from mps_spectro_patch.kernels import plan

TABLE = Path(__file__).parent / "results" / "apple-occupancy.csv"
REGISTER_BYTES = 208 * 1024  # per core
THREADGROUP_BYTES = 60 * 1024  # per core; one threadgroup may have 32 KB of it
CHIPS = {"M1": "Apple7", "M2": "Apple8", "M3": "Apple9", "M4": "Apple9", "M5": "Apple10"}
REGISTERS_MAX = 256  # 32-bit ones that a thread can have before it spills
_ADDRESSES = 24  # registers for positions, pointers and loops: what the stft kernel has beyond its values on an H100


def registers(which: plan.Plan, kind: str) -> int:
    """32-bit registers of a thread: its values, a butterfly's temporaries and twiddles, stft's part of the window."""
    first = which.radices[0] * -(-(which.half // which.radices[0]) // which.lanes)
    window = 2 * first if kind == "stft" else 0
    return 2 * which.values + 2 * max(which.radices) + window + _ADDRESSES


def registers_available(which: plan.Plan) -> int:
    """Of a thread, where one threadgroup has the core to itself, as max_total_threads_per_threadgroup demands."""
    return min(REGISTERS_MAX, REGISTER_BYTES // (4 * which.threads))


def groups_per_core(which: plan.Plan, kind: str) -> int:
    used = min(registers(which, kind), registers_available(which))
    return min(REGISTER_BYTES // (4 * used * which.threads), THREADGROUP_BYTES // which.threadgroup_bytes)


def rows() -> list[dict[str, object]]:
    plans = [("stft", n, plan.stft_plan(n)) for n in plan.supported_sizes()]
    plans += [("istft", n, plan.istft_plan(n)) for n in plan.supported_sizes()]
    general: dict[plan.Plan, int] = {}
    for n_fft in range(1, plan.MAX_BLUESTEIN_POINTS + 1):
        general.setdefault(plan.transform(n_fft, True).plan, n_fft)
    plans += [("general", n, which) for which, n in general.items()]
    return [_row(kind, n, which) for kind, n, which in plans]


def _row(kind: str, n: int, which: plan.Plan) -> dict[str, object]:
    groups = groups_per_core(which, kind)
    return {
        "kind": kind, "n_fft": n, "radices": "x".join(map(str, which.radices)), "overlap": which.overlap or "-",
        "threads": which.threads, "registers": registers(which, kind),
        "spilled": max(0, registers(which, kind) - registers_available(which)),
        "threadgroup_bytes": which.threadgroup_bytes,
        **dict.fromkeys(CHIPS, groups), "threads_per_core": groups * which.threads,
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
