"""The description of a front end: FrontEnd and Scale, plain data, made and checked from the public arguments.

front_ends/compute.py runs what is described here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, Literal, get_args

import torch
from torch.compiler import is_compiling

from ..arguments import FeatureArguments
from ..kernels import hashed_once

OutputScale = Literal["linear", "log", "db"]
LogMode = Literal["clamp", "add", "log1p"]
PadMode = Literal["constant", "reflect", "replicate", "circular"]
Scope = Literal["batch", "item"]
Normalized = bool | Literal["frame_length", "window"]
OUTPUT_SCALES, LOG_MODES, PAD_MODES, SCOPES = map(get_args, (OutputScale, LogMode, PadMode, Scope))
DB_AMIN = 1e-10


def remembered(function: Callable) -> Callable:
    """`function` with a cache that torch.compile does not see: it warns about caches, and folds constants anyway."""
    cached = lru_cache(maxsize=1024)(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or torch.Tensor in map(type, (*args, *kwargs.values())):  # a size that may change in place
            return function(*args, **kwargs)
        return cached(*args, **kwargs)

    return call


@hashed_once
@dataclass(frozen=True)
class Scale:
    """From the values v of the bands to the output, in this order.

    scale, amin, factor, offset: v itself ("linear"), or factor * log(w) + offset, where w is max(v, amin) ("clamp"),
        v + amin ("add") or 1 + v / amin ("log1p").
    below, scope: no value is more than `below` under the largest: of the last batch dimension ("batch", as torchaudio),
        of each waveform ("item") or of all waveforms ("all"). None: no such limit.
    after_factor, after_offset: times after_factor, plus after_offset.
    deviation_eps: for each feature, minus its mean over time, divided by its deviation + deviation_eps. None: not.
    """

    scale: str = "linear"
    amin: float = 1.0
    factor: float = 1.0
    offset: float = 0.0
    below: float | None = None
    scope: str = "batch"
    after_factor: float = 1.0
    after_offset: float = 0.0
    deviation_eps: float | None = None

    def finishing(self) -> tuple[float | None, float, float, float | None]:
        """What comes behind the logarithm."""
        return self.below, self.after_factor, self.after_offset, self.deviation_eps


@hashed_once
@dataclass(frozen=True)
class FrontEnd:
    """All that describes a call, except its tensors.

    pad: zeros added to both ends first, samples.
    edges: without center, samples that pad_mode adds to both ends.
    power, eps, gain: values are (|X|^power + eps) * gain; with power 1, sqrt(|X|^2 + eps) * gain.
    floor: |X|^2 is at least this; eps is 0 then.
    window_norm: the spectrum is divided by the root of the window's energy.
    width: without a filterbank, the number of bins: cut off, or filled with zeros. None: all.
    dropped: frames left out at the end.
    contiguous: the result [..., features, frames] is, else its transpose. Not with scale.deviation_eps.
    """

    n_fft: int
    hop_length: int
    win_length: int
    center: bool = True
    pad_mode: str = "reflect"
    pad: int = 0
    power: float = 2.0
    eps: float = 0.0
    gain: float = 1.0
    floor: float = 0.0
    window_norm: bool = False
    width: int | None = None
    dropped: int = 0
    scale: Scale = Scale()
    edges: int = 0
    contiguous: bool = False

    def __post_init__(self) -> None:
        assert not self.contiguous or self.scale.deviation_eps is None, "what divides by the deviation has one layout"

    def describe(self) -> str:
        return f"n_fft={self.n_fft}, hop_length={self.hop_length}, power={self.power}, {self.scale.scale}"

    def arguments(self, bands: int | None, pad: int, pad_mode: str) -> FeatureArguments:
        """The arguments of the operator. bands: of the filterbank, None if there is none; pad: samples, at each end."""
        bins = self.n_fft // 2 + 1 if self.width is None else self.width
        return FeatureArguments(
            self.n_fft, self.hop_length, self.win_length, pad, pad_mode, bins if bands is None else bands,
            self.dropped, float(self.power), float(self.eps), float(self.gain), float(self.floor), self.scale.scale,
            float(self.scale.amin), float(self.scale.factor), float(self.scale.offset), self.contiguous,
        )  # fmt: skip


@remembered
def resolve(
    n_fft: int, hop_length: int, win_length: int | None, *, center: bool = True, pad_mode: str = "reflect",
    pad: int = 0, power: float = 2.0, normalized: bool | str = False, scale: Scale | None = None, eps: float = 0.0,
    floor: float = 0.0, gain: float = 1.0, width: int | None = None, dropped: int = 0,
) -> FrontEnd:  # fmt: skip
    """The FrontEnd of these arguments. Raises ValueError if they describe none."""
    win_length = int(win_length or n_fft)
    n_fft, hop_length, pad, power = int(n_fft), int(hop_length), int(pad), float(power)
    if n_fft < 1 or hop_length < 1 or pad < 0:
        raise ValueError(f"n_fft={n_fft}, hop_length={hop_length}, pad={pad}: expected positive sizes, pad from 0 on")
    if not 0 < win_length <= n_fft:
        raise ValueError(f"win_length={win_length}: expected 1 to n_fft={n_fft}")
    if pad_mode not in PAD_MODES:
        raise ValueError(f"pad_mode={pad_mode!r}: expected one of {', '.join(map(repr, PAD_MODES))}")
    if not (power > 0 and math.isfinite(power)):
        raise ValueError(f"power={power}: expected a positive number")
    if normalized not in (False, True, "frame_length", "window"):
        raise ValueError(f'normalized={normalized!r}: expected True, False, "frame_length" or "window"')
    if eps < 0:
        raise ValueError(f"magnitude_eps={eps}: expected 0 or a positive number")
    if not (0 <= floor < math.inf) or (floor and eps):
        raise ValueError(f"magnitude_floor={floor}: expected 0 or a positive number, and then no magnitude_eps={eps}")
    if normalized in (True, "frame_length"):
        gain = gain * n_fft ** (-power / 2)
    return FrontEnd(
        n_fft, hop_length, win_length, bool(center), pad_mode, pad, power, float(eps), gain, float(floor),
        normalized == "window", width, dropped, scale or Scale(),
    )  # fmt: skip


@remembered
def resolve_scale(
    output_scale: str, log_mode: str, log_amin: float, power: float, top_db: float | None, top_db_scope: str = "batch"
) -> Scale:
    """The Scale of output_scale "linear", "log" or "db". Raises ValueError for everything else."""
    if output_scale not in OUTPUT_SCALES:
        raise ValueError(f'output_scale={output_scale!r}: expected "linear", "log" or "db"')
    if log_mode not in LOG_MODES:
        raise ValueError(f'log_mode={log_mode!r}: expected "clamp", "add" or "log1p"')
    if output_scale == "linear":
        return Scale()
    if output_scale == "log":
        if not log_amin > 0:
            raise ValueError(f"log_amin={log_amin}: expected a positive number")
        return Scale(log_mode, float(log_amin))
    check_top_db(top_db, top_db_scope)
    return decibels(20.0 if power == 1 else 10.0, top_db, top_db_scope)


def decibels(
    multiplier: float, top_db: float | None, scope: str = "batch", amin: float = DB_AMIN, offset: float = 0.0
) -> Scale:
    """multiplier * log10(max(v, amin)) + offset, no value more than top_db below the largest of `scope`."""
    below = None if top_db is None else float(top_db)
    return Scale("clamp", amin, multiplier / math.log(10), offset, below, scope)


def check_top_db(top_db: float | None, scope: str) -> None:
    if top_db is not None and not top_db >= 0:
        raise ValueError(f"top_db={top_db}: must be positive, or None")
    if scope not in SCOPES:
        raise ValueError(f'top_db_scope={scope!r}: expected "batch" or "item"')


def shifted(n_fft: int, hop_length: int, win_length: int, keyshift: float, speed: float) -> tuple[int, int, int]:
    """n_fft, hop_length and win_length for a shift of `keyshift` semitones and a hop `speed` times as long."""
    if not speed > 0 or not math.isfinite(speed) or not math.isfinite(keyshift):
        raise ValueError(f"keyshift={keyshift}, speed={speed}: expected finite numbers, speed positive")
    factor = 2.0 ** (keyshift / 12)
    return max(1, round(n_fft * factor)), max(1, round(hop_length * speed)), max(1, round(win_length * factor))


@remembered
def dynamic(
    n_fft: int, hop_length: int, win_length: int | None, keyshift: float, speed: float, *, width: int | None,
    **given: Any,
) -> FrontEnd:  # fmt: skip
    """The FrontEnd of dynamic_spectrogram. width: its target_n_freqs; given: as for resolve()."""
    base = int(win_length or n_fft)
    n_fft, hop_length, win_length = shifted(int(n_fft), int(hop_length), base, float(keyshift), float(speed))
    if width is not None and width < 1:
        raise ValueError(f"target_n_freqs={width}: expected at least one bin")
    gain = 1.0 if width is None or win_length == base else base / win_length
    return resolve(n_fft, hop_length, min(win_length, n_fft), gain=gain, width=width, **given)
