"""What a launch tells its kernel in numbers: each class is the struct that the kernel's text declares, and the list
that binds one.

A class has fields of one kind, as a list has elements of one type: whole numbers and flags, which Metal sees as `int`,
or `float`. Lengths, positions and strides are counted in elements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

_METAL_TYPES = {"int": "int", "bool": "int", "float": "float"}
_classes: dict[str, type[Params]] = {}  # by the struct's name


class Params:
    """Base of the dataclasses: `Name` becomes `struct MspName`."""

    def __init_subclass__(cls) -> None:
        _classes[f"Msp{cls.__name__}"] = cls

    @classmethod
    def members(cls) -> dict[str, str]:
        """The type of every member as Metal has it, in order."""
        members = {field.name: _METAL_TYPES[str(field.type)] for field in fields(cls)}  # type: ignore[arg-type]
        assert len(set(members.values())) == 1, f"{cls.__name__} cannot be bound as one list"
        return members

    @classmethod
    def declaration(cls) -> str:
        members = "".join(f"  {type} {name};\n" for name, type in cls.members().items())
        return f"struct Msp{cls.__name__} {{\n{members}}};\n"

    def packed(self) -> list[int] | list[float]:
        """The list that is bound: of 32-bit numbers, the integers by a cast."""
        number = {"int": int, "float": float}
        return [number[type](getattr(self, name)) for name, type in self.members().items()]


def declarations(text: str) -> str:
    """The structs that a Metal text names."""
    return "".join(
        _classes[name].declaration() for name in sorted(set(re.findall(r"\bMsp\w+", text)) & _classes.keys())
    )


@dataclass(frozen=True, kw_only=True)
class StftParams(Params):
    """kernels/stft.metal"""

    samples: int  # of a row
    row_stride: int
    frames: int  # per row
    total_frames: int  # of all rows
    hop_length: int
    pad: int  # samples in front of a row
    pad_mode: int
    win_left: int  # zeros in front of the window
    win_length: int
    steps: int  # frames that a slot takes, one after the other
    paired_loads: bool  # every frame starts at an 8-byte boundary
    paired_window: bool  # the window has n_fft values, from an 8-byte boundary on
    envelope_head: int = 0  # of the envelope in an adjoint, see overlap/envelope.metal
    envelope_tail: int = 0
    envelope_end: int = 0


@dataclass(frozen=True, kw_only=True)
class IstftParams(Params):
    """kernels/istft.metal, istft_registers.metal, features_gradient.metal and stft_loss_gradient.metal"""

    row_stride: int
    bin_stride: int
    frame_stride: int
    frames: int  # per row
    hop_length: int
    win_left: int
    win_length: int
    first: int  # position of the first output sample in the untrimmed signal
    length: int  # output samples per row
    groups: int  # threadgroups per row
    run_hops: int  # hops of output that a run owns
    halo: int  # earlier frames that reach into a run
    runs_begin: int  # the positions that the runs of a row write
    runs_end: int
    paired_window: bool
    envelope_head: int
    envelope_tail: int
    envelope_end: int
    pad_mode: int  # of an adjoint
    edges: int  # of an adjoint: threadgroups per row for its ends, the first, for they take longest
    share: int  # frames of a slot, where they overlap in registers
    paired_output: bool  # even positions lie at 8-byte boundaries of the output


@dataclass(frozen=True, kw_only=True)
class WindowGradientParams(Params):
    """kernels/window_gradient.metal"""

    row_stride: int  # of the spectrum
    bin_stride: int
    frame_stride: int
    frames: int  # per row
    total_frames: int  # of all rows
    hop_length: int
    signal_stride: int  # from row to row
    samples: int
    pad: int
    pad_mode: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class FeatureParams(Params):
    """kernels/features.metal"""

    samples: int  # of a row
    row_stride: int
    frames: int  # per row
    hop_length: int
    pad: int
    pad_mode: int
    win_left: int
    win_length: int
    groups: int  # threadgroups per row
    steps: int  # frames that a slot takes, one after the other
    paired_loads: bool
    paired_window: bool
    wants_extremes: bool
    gradient_frames: int  # the frames behind these have none
    gradient_row: int  # strides of the gradient
    gradient_feature: int
    gradient_frame: int
    width: int  # these four: see MspFeatures
    rounds: int
    reach: int


@dataclass(frozen=True, kw_only=True)
class AnyFeatureParams(FeatureParams):
    """kernels/any_features.metal"""

    n_fft: int
    points: int
    bins: int


@dataclass(frozen=True, kw_only=True)
class FeatureGradientParams(Params):
    """kernels/features_gradient.metal, beside IstftParams"""

    signal_stride: int  # from row to row
    gradient_row: int  # strides of the gradient
    gradient_feature: int
    gradient_frame: int
    gradient_frames: int  # the frames behind these have none
    paired_loads: bool
    width: int  # these four: see MspFeatures
    rounds: int
    reach: int


@dataclass(frozen=True, kw_only=True)
class FeatureScale(Params):
    """The numbers of MspFeatures that are no integers."""

    exponent: float
    eps: float
    gain: float
    amin: float
    factor: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class KaldiParams(Params):
    """kernels/kaldi.metal"""

    samples: int  # of a row
    row_stride: int
    frames: int  # per row
    hop_length: int
    start: int  # position of the first frame in a row
    win_length: int
    groups: int  # threadgroups per row
    steps: int  # frames that a slot takes, one after the other
    remove_dc: bool
    energy: int  # MSP_ENERGY_*, or 0
    energy_last: bool
    width: int  # these four: see MspFeatures
    rounds: int
    reach: int


@dataclass(frozen=True, kw_only=True)
class KaldiScale(Params):
    preemphasis: float
    energy_floor: float  # of the energy's logarithm


@dataclass(frozen=True, kw_only=True)
class MeanParams(Params):
    """kernels/subtract_mean.metal"""

    width: int  # features of a frame
    frames: int  # of a row
    groups: int  # threadgroups per row


@dataclass(frozen=True, kw_only=True)
class StftLossParams(Params):
    """kernels/stft_loss.metal"""

    samples: int  # of a row
    input_stride: int  # from row to row
    target_stride: int
    frames: int  # per row
    hop_length: int
    pad: int
    pad_mode: int
    win_left: int
    win_length: int
    groups: int  # threadgroups per row
    steps: int  # frames that a slot takes, one after the other
    first_sum: int  # where its sums begin, in fours
    paired_input: bool  # every frame starts at an 8-byte boundary
    paired_target: bool
    paired_window: bool


@dataclass(frozen=True, kw_only=True)
class StftLossGradientParams(Params):
    """kernels/stft_loss_gradient.metal, beside IstftParams"""

    input_stride: int  # from row to row
    target_stride: int
    paired_input: bool
    paired_target: bool
    skipped: int  # samples of a frame that are in front of the window: see overlap/walk.metal
    per_row: bool
    first_term: int  # where its terms begin
    has_loss: bool  # whether there is a gradient of the loss, and of its terms
    has_terms: bool
    adds: bool  # to the gradient that is there


@dataclass(frozen=True, kw_only=True)
class StftLossFinishParams(Params):
    """kernels/stft_loss_finish.metal, of each loss"""

    rows: int
    groups: int  # sums of a row
    first_sum: int  # where its sums begin, in fours
    first_term: int  # where its terms begin
    per_row: bool


@dataclass(frozen=True, kw_only=True)
class StftLossMeanParams(Params):
    """kernels/stft_loss_finish.metal"""

    losses: int
    samples: int  # of a row of the target
    target_stride: int  # from row to row
    parts: int  # threadgroups that copy a row


@dataclass(frozen=True, kw_only=True)
class StftLossScale(Params):
    """The numbers of MspMagnitudes."""

    eps: float
    factor: float
    added: float


@dataclass(frozen=True, kw_only=True)
class StftLossWeights(Params):
    convergence: float
    log: float
    linear: float
    count: float  # what sums of log and linear are divided by
    losses: float  # in whose mean this one is


@dataclass(frozen=True, kw_only=True)
class AnyStftParams(Params):
    """kernels/any_stft.metal"""

    samples: int  # of a row
    row_stride: int
    frames: int  # per row
    total_frames: int  # of all rows
    hop_length: int
    pad: int
    pad_mode: int
    win_left: int
    win_length: int
    n_fft: int
    points: int
    bins: int
    stored: int  # bins of a frame in memory
    zero_above: bool  # the bins above half of n_fft get zero
    real_at_ends: bool  # bin 0, and half of an even n_fft, have no imaginary part
    adjoint: bool
    envelope_head: int
    envelope_tail: int
    envelope_end: int


@dataclass(frozen=True, kw_only=True)
class AnyIstftParams(Params):
    """kernels/any_istft.metal"""

    row_stride: int
    bin_stride: int
    frame_stride: int
    frames: int  # per row
    hop_length: int
    win_left: int
    win_length: int
    first: int  # position of the first output sample in the untrimmed signal
    length: int  # output samples per row
    rows: int
    runs: int  # per row
    run_hops: int  # hops of output that a run owns
    halo: int  # earlier frames that reach into a run
    runs_begin: int  # the positions that the runs of a row write
    runs_end: int
    n_fft: int
    points: int
    bins: int
    loaded: int  # bins in memory: those from here on count as zero
    real_at_ends: bool  # imaginary parts of bin 0, and half of an even n_fft, do not count
    both_sides: bool  # bins of a real frame take their mirror images in
    adjoint: bool
    envelope_head: int
    envelope_tail: int
    envelope_end: int
    pad_mode: int
    edges: int  # per row
    run_groups: int  # threadgroups of runs; those of edges follow
    edge_steps: int  # frames that an edge walks
    edge_split: int  # of them at the beginning of the row, where an edge concerns both ends
    edge_jump: int  # the first frame of the row's end


@dataclass(frozen=True, kw_only=True)
class DecibelParams(Params):
    """msp_decibels in kernels/feature_passes.metal"""

    count: int  # values of an item
    parts: int  # of an item: a threadgroup each
    part: int  # values of each, but perhaps of the last


@dataclass(frozen=True, kw_only=True)
class DecibelScale(Params):
    amin: float
    factor: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class LimitParams(Params):
    """msp_limit in kernels/feature_passes.metal"""

    count: int  # features of an item
    listed: int  # extremes of an item
    groups: int  # threadgroups per item
    row: int  # features of a row
    row_parts: int  # parts of a row
    parts: int  # of an item
    part: int  # features of each, but perhaps of the last of a row
    are_listed: bool  # the extremes are those of the parts


@dataclass(frozen=True, kw_only=True)
class LimitScale(Params):
    below: float  # the largest: how far the floor is
    factor: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class StandardiseParams(Params):
    """msp_standardise in kernels/feature_passes.metal"""

    width: int  # features of a frame
    frames: int  # of a row
    groups: int  # threadgroups per row
