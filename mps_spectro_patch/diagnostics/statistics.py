"""stats(): how many calls took the fast path and how many fell back, as data that prints well."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from ..execution import call_sites, counters
from ..options import OPS
from ..reasons import Reason


@dataclass(frozen=True)
class OpStats:
    """Eager calls of one function: how many took the fast path, and how many fell back for which reason.

    errors: exceptions of the fast path that were caught; verified and differed: comparisons with the original, by what
    came of them; seconds: time of the calls by outcome ("fast" or a reason), while watch_calls() was on.
    """

    fast: int = 0
    fallback: dict[Reason, int] = field(default_factory=dict)
    verified: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return self.fast + sum(self.fallback.values())

    @property
    def errors(self) -> int:
        return self.fallback.get(Reason.ERROR, 0)

    @property
    def differed(self) -> int:
        return self.fallback.get(Reason.VERIFICATION, 0)

    def __str__(self) -> str:
        lines = [f"{self.calls} calls", f"  {self.fast:>8}  fast{self._took('fast')}"]
        for reason, count in self.fallback.items():
            lines.append(f"  {count:>8}  original, {reason}: {reason.words}{self._took(reason)}")
        if self.verified or self.differed or self.errors:
            compared = f"{self.verified} right, {self.differed} wrong; {self.errors} errors caught"
            lines.append(f"  compared with the original: {compared}")
        return "\n".join(lines)

    def _took(self, outcome: str) -> str:
        return f", {self.seconds[str(outcome)]:.4f} s" if str(outcome) in self.seconds else ""


class Stats(dict[str, OpStats]):
    """Name of a function -> OpStats: "stft" and "istft", then the front ends that were called."""

    def __str__(self) -> str:
        return "\n".join(f"{counters.title(name)}: {counts}" for name, counts in self.items())


def stats() -> Stats:
    """Counts of eager calls since the start or reset_stats(): of torch.stft, torch.istft and every front end called.

    Calls from compiled code are not counted.

    Returns:
        Stats: a dict of "stft", "istft" and the names of front ends that were called ("mel_spectrogram",
        "LogMelSpectrogramTransform", "torchaudio.MelSpectrogram", ...) -> OpStats with `fast`, `fallback` (by reason),
        `errors`, `verified` and `differed`, all counts, and `seconds` by outcome while watch_calls() is on. It prints
        well.

    Example:
        >>> msp.reset_stats()
        >>> with msp.accelerated(devices=["simulator"], verify="off"):
        ...     spectrum = torch.stft(torch.randn(4000), 400, window=torch.hann_window(400), return_complex=True)
        >>> msp.stats()["stft"].fast, msp.stats()["istft"].calls
        (1, 0)
    """
    counts, agreed = counters.counts(), counters.agreed()
    seconds: dict[str, dict[str, float]] = defaultdict(dict)
    for site, tally in call_sites.sites().items():
        if tally.timed:
            seconds[site.op][site.outcome] = seconds[site.op].get(site.outcome, 0.0) + tally.timed
    found = Stats()
    for name in (*OPS, *sorted(name for name, _ in counts)):
        fallback = {reason: count for (one, reason), count in counts.items() if one == name and reason is not None}
        found[name] = OpStats(counts.get((name, None), 0), fallback, agreed.get(name, 0), seconds[name])
    return found


def reset_stats() -> None:
    """Sets the counts of stats() and the calls and times of report() to zero.

    Kernels that are not used any more (see status()) stay unused.

    Example:
        >>> msp.reset_stats()
        >>> msp.stats()["stft"].calls
        0
    """
    counters.reset()
    call_sites.reset()
