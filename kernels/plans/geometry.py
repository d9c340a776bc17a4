"""What one call computes, worked out once from its arguments: frame counts, padding, trimming.

Plain integers, no tensors and no devices. Units are samples of the input unless a name says frames or bins.
"""

from __future__ import annotations

from dataclasses import dataclass

from .frozen import hashed_once

PAD_MODES = {"reflect": 0, "constant": 1, "replicate": 2, "circular": 3}


class _Frames:
    """What both kinds of call have. Each also describes its adjoint: a kernel that goes from samples to bins reads
    `samples` of a row, one that goes from bins to samples writes `length`; the first of them is at `pad`."""

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1 if self.onesided else self.n_fft

    @property
    def win_left(self) -> int:
        """Zeros in front of a window shorter than n_fft."""
        return (self.n_fft - self.win_length) // 2

    @property
    def window_part(self) -> slice:
        """Where such a window is in n_fft values."""
        return slice(self.win_left, self.win_left + self.win_length)

    @property
    def untrimmed(self) -> int:
        """Samples that the frames cover."""
        return self.n_fft + self.hop_length * (self.frames - 1)

    @property
    def halo(self) -> int:
        """Frames that start before a sample's own hop and still reach it."""
        return -(-self.n_fft // self.hop_length) - 1


@hashed_once
@dataclass(frozen=True)
class StftGeometry(_Frames):
    """torch.stft of `rows` signals of `samples` samples each."""

    rows: int
    samples: int
    n_fft: int
    hop_length: int
    win_length: int
    pad: int  # samples added on either side
    pad_mode: str
    normalized: bool
    onesided: bool = True

    @property
    def frames(self) -> int:
        return 1 + (self.samples + 2 * self.pad - self.n_fft) // self.hop_length

    @property
    def length(self) -> int:
        """Samples of the adjoint's result."""
        return self.samples

    @property
    def scale(self) -> float:
        return self.n_fft**-0.5 if self.normalized else 1.0


@hashed_once
@dataclass(frozen=True)
class IstftGeometry(_Frames):
    """torch.istft of `rows` spectra of `frames` frames to `length` samples each, zeros where no frame reaches.

    trim: position of the first output sample in the untrimmed signal. forgiving: see inverse_envelope().
    """

    rows: int
    frames: int
    n_fft: int
    hop_length: int
    win_length: int
    trim: int
    normalized: bool
    onesided: bool
    forgiving: bool
    length: int

    pad_mode = "constant"  # as the adjoint frames its samples

    @property
    def samples(self) -> int:
        """Output samples that the frames reach; the rest of `length` is zero."""
        return min(self.length, self.untrimmed - self.pad)

    @property
    def pad(self) -> int:
        """As the adjoint frames its samples."""
        return self.trim

    @property
    def margins(self) -> tuple[int, int]:
        """Samples that the frames cover in front of the output and behind it."""
        return self.pad, self.untrimmed - self.pad - self.samples

    @property
    def of_envelope(self) -> tuple[int, int, int, int, int, bool]:
        """What tables.envelope.inverse_envelope() is asked about a window."""
        return self.n_fft, self.hop_length, self.frames, self.pad, self.samples, self.forgiving

    @property
    def scale(self) -> float:
        return self.n_fft**-0.5 if self.normalized else 1.0 / self.n_fft


Geometry = StftGeometry | IstftGeometry


def runs_per_row(rows: int, hops: int, halo: int, resident: int) -> int:
    """Into how many runs a row's hops are cut, so that the runs of all rows are done soonest.

    The device works on `resident` runs at a time. A run transforms `halo` frames more than it has hops, which are done
    by the run before as well: it has as many hops of its own at least. Its start takes as long as about two frames.
    """
    most = max(1, hops // max(halo, 1))
    counts = {min(max(1, waves * resident // rows), most) for waves in (1, 2, 3, 4)}
    return min(counts, key=lambda count: (-(-rows * count // resident) * (-(-hops // count) + halo + 2), count))


@dataclass(frozen=True)
class PaddedEnds:
    """How the adjoint of padding shares a row out: positions are those in the padded signal.

    Runs write positions [runs_begin, runs_end); the other samples belong to `edges` (0, 1 or 2 per row). An edge walks
    `steps` frames: `split` of them from its own first one on (0, or `jump` for a second edge), then from `jump` on.
    """

    runs_begin: int
    runs_end: int
    edges: int
    steps: int
    split: int
    jump: int


def padded_ends(geometry: Geometry) -> PaddedEnds:
    """Of "constant" padding nothing comes back."""
    pad, samples, pad_mode, frames = geometry.pad, geometry.length, geometry.pad_mode, geometry.frames
    if not pad or pad_mode == "constant":
        return PaddedEnds(pad, pad + samples, 0, 0, 0, 0)
    if samples < 2 * pad + 2:  # the ends touch each other: one edge has it all
        return PaddedEnds(0, 0, 1, frames, frames, 0)
    first = min(2 * pad // geometry.hop_length + 1, frames)  # frames that reach the first end
    jump = min(max(0, -(-(samples - geometry.n_fft) // geometry.hop_length)), frames)  # and before the second
    if pad_mode == "circular":  # each edge takes from both ends
        jump = max(jump, first)
        return PaddedEnds(2 * pad + 1, samples - 1, 2, first + frames - jump, first, jump)
    steps = max(first, frames - jump)
    return PaddedEnds(2 * pad + 1, samples - 1, 2, steps, steps, jump)
