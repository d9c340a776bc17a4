"""The operators' arguments behind their tensors, each list written once.

Names, types and order stand here only: schemas, the operators' Python bodies, the geometry in kernels and the answers
of routing follow them. NamedTuples are tuples, which operators take one by one and torch.compile traces. Imports no
torch.
"""

from ast import literal_eval
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_SCHEMA_TYPES = {int: "SymInt", float: "float", str: "str", bool: "bool"}


class StftArguments(NamedTuple):
    """Of stft and its gradients. pad: samples added to each end, filled by pad_mode."""

    n_fft: int
    hop_length: int
    win_length: int
    pad: int
    pad_mode: str
    normalized: bool
    onesided: bool


class IstftArguments(NamedTuple):
    """Of istft. Its gradients take the first seven: how long the signal is, and of which type, they see.

    trim: samples of the overlapped frames that are cut off in front. forgiving: where the envelope is zero, samples are
    not divided; else such a call is torch's, which refuses it.
    """

    n_fft: int
    hop_length: int
    win_length: int
    trim: int
    normalized: bool
    onesided: bool
    forgiving: bool
    length: int
    return_complex: bool


ISTFT_SHARED = 7  # so many fields of IstftArguments


class FeatureArguments(NamedTuple):
    """Of the features of front ends and their gradients: framing, powers (|X|^power + eps) * gain, scale.

    width: features per frame. dropped: frames at the end that are left out. floor: |X|^2 is at least this. The scale:
    see kernels' Features. contiguous: the result is; else it lies frame by frame in memory.
    """

    n_fft: int
    hop_length: int
    win_length: int
    pad: int
    pad_mode: str
    width: int
    dropped: int
    power: float
    eps: float
    gain: float
    floor: float
    scale: str
    amin: float
    factor: float
    offset: float
    contiguous: bool

    def framing(self) -> tuple[int, int, int, int, str]:
        return self.n_fft, self.hop_length, self.win_length, self.pad, self.pad_mode

    def stft(self) -> StftArguments:
        """Of the spectrum that the features are made of."""
        return StftArguments(*self.framing(), False, True)

    def powers(self) -> tuple[float, float, float, float]:
        return self.power, self.eps, self.gain, self.floor

    def scaling(self) -> tuple[str, float, float, float]:
        return self.scale, self.amin, self.factor, self.offset

    def linear(self, width: int) -> "FeatureArguments":
        """The same call for `width` bins of the powers as they are."""
        return self._replace(width=width, scale="linear", amin=1.0, factor=1.0, offset=0.0, contiguous=False)


class KaldiArguments(NamedTuple):
    """Of Kaldi's filterbank energies, see kernels' Kaldi."""

    n_fft: int
    hop_length: int
    win_length: int
    snip_edges: bool
    remove_dc: bool
    preemphasis: float
    power: float
    log: bool
    amin: float
    energy: str
    energy_floor: float
    energy_last: bool
    subtract_mean: bool


class LossArguments(NamedTuple):
    """Of an STFT loss and its gradients: framing, then what is compared, see kernels' Terms."""

    n_fft: int
    hop_length: int
    win_length: int
    pad: int
    pad_mode: str
    convergence: float
    log: float
    linear: float
    eps: float
    factor: float
    added: float
    squared: bool
    per_row: bool
    mean: bool

    def framing(self) -> tuple[int, int, int, int, str]:
        return self.n_fft, self.hop_length, self.win_length, self.pad, self.pad_mode

    def stft(self) -> StftArguments:
        """Of both spectra."""
        return StftArguments(*self.framing(), False, True)


def text_of(losses: Iterable[LossArguments]) -> str:
    """Several at once, as operators take them: torch would take lists apart in every call."""
    return repr([tuple(one) for one in losses])


@lru_cache(maxsize=1024)
def losses_of(text: str) -> tuple[LossArguments, ...]:
    """What text_of() was given."""
    return tuple(LossArguments(*one) for one in literal_eval(text))


def schema(arguments: type, count: int | None = None) -> str:
    """The first `count` fields (None: all) as an operator's schema has them: "SymInt n_fft, SymInt hop_length, ..."."""
    fields = list(arguments.__annotations__.items())[:count]
    return ", ".join(f"{_SCHEMA_TYPES[kind]} {name}" for name, kind in fields)
