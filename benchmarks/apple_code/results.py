"""The kept results of the instrument: one line of a table per kernel, variant and setting of LICM.

variant: "full", the kernel as it is, or "steady", the way of almost all frames alone. licm: whether LLVM moved what
does not change out of loops; a good compiler is between 0 and 1. threads: of a core, by registers; groups: threadgroups
of a core, by registers and threadgroup memory. error: relative, L2, of what PoCL made of the same code on a CPU,
against float64; empty where no call launches the kernel, or (steady) it is not the whole kernel. See Counts for the
others.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
TABLE = RESULTS / "apple-machine-code.csv"
CORE_LOCAL_BYTES = 60 * 1024  # of all threadgroups on a core (metal-benchmarks by P. Turner)


@dataclass(frozen=True)
class Row:
    kernel: str
    n_fft: int
    variant: str
    licm: int
    demand: int
    threads: int
    instructions: int
    alu: int
    spills: int
    fills: int
    scratch: int
    local_bytes: int
    groups: int
    error: str = ""

    @property
    def key(self) -> tuple[str, int, str, int]:
        return self.kernel, self.n_fft, self.variant, self.licm


def worse(new: Row, kept: Row) -> list[str]:
    """A few registers or instructions more are none: other kernels change by as much when a line moves."""
    allowed = {"spills": 0, "fills": 0, "scratch": 0, "local_bytes": 0, "demand": 6,
               "instructions": kept.instructions // 100, "alu": kept.alu // 100}  # fmt: skip
    found = [name for name, more in allowed.items() if getattr(new, name) > getattr(kept, name) + more]
    found += [name for name in ("threads", "groups") if getattr(new, name) < getattr(kept, name)]
    return [f"{name} {getattr(kept, name)} -> {getattr(new, name)}" for name in found]


def groups(threads: int, group_threads: int, local_bytes: int) -> int:
    by_memory = CORE_LOCAL_BYTES // local_bytes if local_bytes else threads
    return min(threads // group_threads, by_memory)


def text(digest: str, versions: str, rows: Iterable[Row]) -> str:
    names = [field.name for field in fields(Row)]
    written = io.StringIO()
    writer = csv.DictWriter(written, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    return f"# Metal text {digest}; {versions}\n{written.getvalue()}"


@dataclass(frozen=True)
class Kept:
    digest: str
    versions: str
    rows: list[Row]

    def worse(self, rows: Iterable[Row]) -> list[str]:
        """What these rows have more of, or less, than the kept ones of the same kernels, in words."""
        kept = {row.key: row for row in self.rows}
        return [f"{row.key}: {words}" for row in rows if row.key in kept for words in worse(row, kept[row.key])]

    def find(self, kernel: str, n_fft: int, variant: str = "full", licm: int = 0) -> Row | None:
        """`kernel`: what its name begins with, up to a comma, a space or the end."""
        for row in self.rows:
            if (row.n_fft, row.variant, row.licm) == (n_fft, variant, licm) and row.kernel.startswith(kernel):
                if row.kernel[len(kernel) :][:1] in ("", ",", " "):
                    return row
        return None


def read(path: Path = TABLE) -> Kept:
    head, _, table = path.read_text().partition("\n")
    found = re.fullmatch(r"# Metal text ([0-9a-f]{16}); (.*)", head)
    assert found is not None, f"{path.name} does not say what it is of"
    numbers = [field.name for field in fields(Row) if field.type == "int"]
    lines = csv.DictReader(io.StringIO(table))
    rows = [Row(**{name: int(value) if name in numbers else value for name, value in line.items()}) for line in lines]  # type: ignore[arg-type]
    return Kept(found[1], found[2], rows)
