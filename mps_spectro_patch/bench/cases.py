"""What is timed: every table of the seed package's README and scripts, and this project's own, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from . import front_ends
from .front_ends import FrontEnd

TABLES = {
    "stft": "STFT forward",
    "istft": "ISTFT forward",
    "gradient": "Forward and backward",
    "roundtrip": "Round trip (STFT, ISTFT), forward and backward",
    "separator": "audio-separator: MDX, Roformer, Demucs on stereo at 44.1 kHz",
    "mel": "Log-mel front ends",
    "dynamic": "Dynamic front ends: RMVPE and torchfcpe",
}
GRADIENTS = {"stft": "stft + gradient", "istft": "istft + gradient", "log-mel": "log-mel + gradient"}
ROUND_TRIP = "round trip + gradient"


@dataclass(frozen=True)
class Case:
    """One call of `op` on `rows` signals of `samples`. published: (torch, seed package) in ms on an M4 Max."""

    table: str
    op: str
    rows: int
    samples: int
    n_fft: int
    hop_length: int
    label: str = ""
    normalized: bool = False
    center: bool = True
    front_end: FrontEnd | None = None
    quick: bool = True  # whether --quick times it, too
    published: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        return f"{self.label} B{self.rows} T{self.samples} n{self.n_fft} h{self.hop_length}".lstrip()

    @property
    def frames(self) -> int:
        """Of one row."""
        padding = 2 * (self.n_fft // 2) if self.center else 0
        return 1 + (self.samples + padding - self.n_fft) // self.hop_length

    @property
    def bytes_moved(self) -> int:
        """What has to pass through memory at least: inputs once and outputs once, in both directions if there are two.

        A gradient of x for a given gradient of f(x) reads and writes as much again as f.
        """
        values = self.front_end.bands if self.front_end else 2 * (self.n_fft // 2 + 1)
        return 4 * self.rows * (self.samples + self.frames * values) * self.passes

    @property
    def passes(self) -> int:
        """Transforms that it takes."""
        return 4 if self.op == ROUND_TRIP else 2 if self.op in GRADIENTS.values() else 1

    @property
    def key(self) -> str:
        """What is the same in two runs."""
        return f"{self.table} | {self.op} | {self.name}"


SHAPES = [  # rows, samples, n_fft, hop, quick: the seed's configurations
    (1, 160_000, 1024, 256, False),
    (4, 160_000, 1024, 256, True),
    (4, 160_000, 2048, 512, False),
    (8, 160_000, 1024, 256, False),
    (16, 160_000, 1024, 256, False),
    (4, 480_000, 1024, 256, False),
    (4, 1_320_000, 1024, 256, True),
    (1, 1_320_000, 1024, 256, False),
]
MORE_SHAPES = [  # other sizes of FFT, more work
    (16, 1_320_000, 1024, 256, False),
    (2, 2_650_000, 2048, 512, True),
    (2, 2_650_000, 2048, 441, False),
    (2, 2_650_000, 4096, 1024, False),
    (2, 2_650_000, 6144, 1024, False),
    (2, 2_650_000, 7680, 1024, False),
    (2, 2_650_000, 8192, 1024, False),
    (64, 480_000, 400, 160, False),
]
MORE_GRADIENTS = [MORE_SHAPES[0], MORE_SHAPES[-1]]
# Published by the seed package for an M4 Max (torch 2.10, MPS): torch's and its own, in milliseconds.
PUBLISHED = {
    ("stft", 4, 160_000, 1024): (1.08, 0.29), ("stft", 4, 160_000, 2048): (1.06, 0.29),
    ("stft", 8, 160_000, 1024): (0.55, 0.41), ("stft", 4, 1_320_000, 1024): (1.80, 1.37),
    ("istft", 4, 160_000, 1024): (1.11, 0.50), ("istft", 8, 160_000, 1024): (1.66, 0.74),
    ("istft", 4, 1_320_000, 1024): (5.65, 2.36), ("istft", 1, 1_320_000, 1024): (1.74, 0.75),
    (ROUND_TRIP, 4, 160_000, 1024): (2.33, 1.27), (ROUND_TRIP, 8, 160_000, 1024): (4.28, 2.38),
    (ROUND_TRIP, 4, 1_320_000, 1024): (17.56, 10.43), (ROUND_TRIP, 1, 1_320_000, 1024): (4.25, 2.36),
}  # fmt: skip
SEPARATOR = [  # label, samples, n_fft, hop, normalized, quick
    ("MDX/Roformer, 195 s track", 195 * 44_100, 2048, 512, False, True),
    ("Demucs, 195 s track", 195 * 44_100, 4096, 1024, True, True),
    ("MDX/Roformer, 267 s track", 267 * 44_100, 2048, 512, False, False),
    ("Demucs, 267 s track", 267 * 44_100, 4096, 1024, True, False),
    # One chunk, as the programs cut a track.
    ("MDX chunk", 261_120, 6144, 1024, False, True),
    ("MDX23C chunk", 261_120, 8192, 1024, False, False),
    ("Roformer chunk", 352_800, 2048, 441, False, True),
    ("Demucs chunk", 347_136, 4096, 1024, True, True),
]
MEL = [  # label, rows, samples, front end, quick
    ("log-mel", 4, 1_320_000, front_ends.plain_log_mel(), True),
    ("log-mel", 4, 160_000, front_ends.plain_log_mel(), False),
    ("mamba_amt", 1, 491_520, front_ends.mamba_amt(), True),
    ("mamba_amt", 8, 491_520, front_ends.mamba_amt(), False),
    ("Whisper 30 s", 1, 480_000, front_ends.whisper(), True),
    ("MuQ 30 s, dB", 1, 720_000, front_ends.muq(), False),
]
KEYSHIFTS = {shift: shift in (0, 3) for shift in (*range(-12, 13), -6.5, 0.5, 4.5, 6.5, 9.5)}  # semitones: quick


def cases(tables: tuple[str, ...] = tuple(TABLES), quick: bool = False) -> list[Case]:
    """The cases of these tables, in the order of TABLES."""
    return [case for case in _all() if case.table in tables and (case.quick or not quick)]


def front_end_case(table: str, rows: int, samples: int, front_end: FrontEnd, op: str = "log-mel", **more: Any) -> Case:
    return Case(table, op, rows, samples, front_end.n_fft, front_end.hop_length, front_end=front_end, **more)


def shrunk(case: Case) -> Case:
    """The same call with little work, for the simulator: a few frames."""
    return replace(case, rows=min(case.rows, 2), samples=max(case.n_fft, 4 * case.hop_length) + 3, published=None)


def _all() -> Iterator[Case]:
    for table, op, more_shapes in (
        ("stft", "stft", MORE_SHAPES), ("istft", "istft", MORE_SHAPES),
        ("gradient", GRADIENTS["stft"], MORE_GRADIENTS), ("gradient", GRADIENTS["istft"], MORE_GRADIENTS),
        ("roundtrip", ROUND_TRIP, MORE_GRADIENTS),
    ):  # fmt: skip
        for rows, samples, n_fft, hop, quick in SHAPES + more_shapes:
            published = PUBLISHED.get((op, rows, samples, n_fft))
            yield Case(table, op, rows, samples, n_fft, hop, quick=quick, published=published)
    for label, samples, n_fft, hop, normalized, quick in SEPARATOR:
        for op in ("stft", "istft"):
            yield Case("separator", op, 2, samples, n_fft, hop, label, normalized, quick=quick)
    for label, rows, samples, front_end, quick in MEL:
        for op in ("log-mel", GRADIENTS["log-mel"]) if label == "log-mel" else ("log-mel",):
            yield front_end_case("mel", rows, samples, front_end, op, label=label, quick=quick)
    for keyshift, quick in KEYSHIFTS.items():
        rmvpe, fcpe = front_ends.rmvpe(keyshift), front_ends.fcpe(keyshift)
        yield front_end_case("dynamic", 1, 160_000, rmvpe, label=f"RMVPE keyshift {keyshift:+g}", quick=quick)
        label = f"torchfcpe keyshift {keyshift:+g}"
        yield front_end_case("dynamic", 1, 160_864, fcpe, label=label, center=False, quick=quick)
