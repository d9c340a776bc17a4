"""What one call computes, worked out once from its arguments: frame counts, padding, trimming.

Plain integers, no tensors and no devices. Units are samples of the input unless a name says frames or bins.
"""

from __future__ import annotations

from dataclasses import dataclass

PAD_MODES = {"reflect": 0, "constant": 1, "replicate": 2, "circular": 3}


@dataclass(frozen=True)
class StftGeometry:
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
    def bins(self) -> int:
        return self.n_fft // 2 + 1 if self.onesided else self.n_fft

    @property
    def win_left(self) -> int:
        """Zeros in front of a window shorter than n_fft."""
        return (self.n_fft - self.win_length) // 2

    @property
    def scale(self) -> float:
        return self.n_fft**-0.5 if self.normalized else 1.0


@dataclass(frozen=True)
class IstftGeometry:
    """torch.istft of `rows` spectra of `frames` frames to `length` samples each, zeros where no frame reaches."""

    rows: int
    frames: int
    n_fft: int
    hop_length: int
    win_length: int
    center: bool
    normalized: bool
    onesided: bool
    length: int

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1 if self.onesided else self.n_fft

    @property
    def reached(self) -> int:
        """Output samples that the frames reach; the rest of `length` is zero."""
        return min(self.length, self.untrimmed - self.first)

    @property
    def first(self) -> int:
        """Position of the first output sample in the untrimmed signal."""
        return self.n_fft // 2 if self.center else 0

    @property
    def untrimmed(self) -> int:
        """Samples that the frames cover before trimming."""
        return self.n_fft + self.hop_length * (self.frames - 1)

    @property
    def win_left(self) -> int:
        return (self.n_fft - self.win_length) // 2

    @property
    def scale(self) -> float:
        return self.n_fft**-0.5 if self.normalized else 1.0 / self.n_fft
