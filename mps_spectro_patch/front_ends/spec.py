"""What a front end is: FrontEnd and Scale, plain data; and the functions that make them from the public arguments.

Arguments that describe no front end raise ValueError here. front_ends/compute.py runs what this describes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

from torch.compiler import is_compiling

from ..arguments import FeatureArguments
from ..kernels import hashed_once

OUTPUT_SCALES = ("linear", "log", "db")
LOG_MODES = ("clamp", "add", "log1p")
PAD_MODES = ("constant", "reflect", "replicate", "circular")
SCOPES = ("batch", "item")
DB_AMIN = 1e-10


def remembered(function: Callable) -> Callable:
    """`function` with a cache, which compiled code does not see: dynamo warns of caches, and folds constants anyway."""
    cached = lru_cache(maxsize=1024)(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if is_compiling() else cached(*args, **kwargs)

    return call


@hashed_once
@dataclass(frozen=True)
class Scale:
    """From bands to output: the values themselves ("linear"), or factor * log(...) + offset of max(v, amin) ("clamp"),
    v + amin ("add") or 1 + v / amin ("log1p").

    below: then nothing is lower than this below the largest value of all rows of the last batch dimension ("batch", as
    torchaudio has it), of every row ("item") or of everything ("all"); then times after_factor, plus after_offset.
    deviation_eps: then less the mean over time and divided by the deviation plus this, feature by feature.
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


@hashed_once
@dataclass(frozen=True)
class FrontEnd:
    """Everything of a call but its tensors.

    pad: zeros added to both ends first; window_norm: the spectrum is divided by the root of the window's energy;
    width: bins that are kept or filled up with zeros, where there is no filterbank (None: all); dropped: frames at the
    end that are left out. eps and gain: (|X|^power + eps) * gain, eps under the root of power 1.
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
    window_norm: bool = False
    width: int | None = None
    dropped: int = 0
    scale: Scale = Scale()

    def arguments(self, bands: int | None, pad: int, pad_mode: str) -> FeatureArguments:
        """The operator's, for a filterbank of `bands` features (None: there is none) and ends padded so."""
        bins = self.n_fft // 2 + 1 if self.width is None else self.width
        return FeatureArguments(
            self.n_fft, self.hop_length, self.win_length, pad, pad_mode, bins if bands is None else bands,
            self.dropped, float(self.power), float(self.eps), float(self.gain), self.scale.scale,
            float(self.scale.amin), float(self.scale.factor), float(self.scale.offset),
        )  # fmt: skip


@remembered
def resolve(
    n_fft: int, hop_length: int, win_length: int | None, *, center: bool = True, pad_mode: str = "reflect",
    pad: int = 0, power: float = 2.0, normalized: bool | str = False, scale: Scale | None = None, eps: float = 0.0,
    gain: float = 1.0, width: int | None = None, dropped: int = 0,
) -> FrontEnd:  # fmt: skip
    """The call these arguments describe. Raises ValueError where they describe none."""
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
    if normalized in (True, "frame_length"):
        gain = gain * n_fft ** (-power / 2)
    return FrontEnd(
        n_fft, hop_length, win_length, bool(center), pad_mode, pad, power, float(eps), gain, normalized == "window",
        width, dropped, scale or Scale(),
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


def decibels(multiplier: float, top_db: float | None, scope: str = "batch", amin: float = DB_AMIN) -> Scale:
    return Scale("clamp", amin, multiplier / math.log(10), below=None if top_db is None else float(top_db), scope=scope)


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
    return (
        max(1, round(n_fft * factor)),
        max(1, round(hop_length * speed)),
        max(1, round(win_length * factor)),
    )


@remembered
def dynamic(
    n_fft, hop_length, win_length, keyshift, speed, center, pad_mode, power, normalized, eps, target, scale
) -> FrontEnd:
    """The call of dynamic_spectrogram."""
    base = int(win_length or n_fft)
    n_fft, hop_length, win_length = shifted(int(n_fft), int(hop_length), base, float(keyshift), float(speed))
    if target is not None and target < 1:
        raise ValueError(f"target_n_freqs={target}: expected at least one bin")
    gain = 1.0 if target is None or win_length == base else base / win_length
    return resolve(
        n_fft, hop_length, min(win_length, n_fft), center=center, pad_mode=pad_mode, power=power,
        normalized=normalized, scale=scale, eps=eps, gain=gain, width=target,
    )  # fmt: skip
