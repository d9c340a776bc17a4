"""What went wrong once and is not used again in this process: plans of stft and istft, and fused front ends.

Put aside is what failed, and no more: of a plan one way through it. Another hop, padding or type of samples is another.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import NamedTuple

import torch

from ..kernels import fft
from ..pending import kept
from . import call_cache, call_sites


class Quarantined(NamedTuple):
    """A plan or front end that is not used again, and why."""

    op: str
    plan: str
    device: str
    why: str


# Apart, because compiled code cannot look a plan up: there, any entry stops the use of all.
# Kept behind a reload of this module, too. By (plan, device, way):
plans: dict[Hashable, Quarantined] = kept(__name__, "plans", {})
# By call, or by (n_fft, dtype, device, whether gradients are wanted):
front_ends: dict[Hashable, Quarantined] = kept(__name__, "front_ends", {})


def put_plan(key: tuple, why: str, sentence: str | None) -> None:
    """Never again this plan that way, and one warning if there is a sentence; key: (plan, device, way), of a Call."""
    if add_plan(key, why) and sentence is not None:
        entry = plans[key]
        _warn(
            f"the fast torch.{entry.op} {sentence} for plan '{entry.plan}' on {entry.device}, torch "
            f"{torch.__version__}. The original's result was used, and such calls are not accelerated again in this "
            f"process. Please report this: open an issue of mps_spectro_patch with this message and the text of "
            f"mps_spectro_patch.status()."
        )


def put_front_end(key: tuple, why: str, sentence: str | None) -> None:
    """Likewise; key: (call, shape of the filterbank, dtype, device, whether gradients are wanted)."""
    call, device = key[0], key[3]
    words = call.describe()
    if _add(front_ends, key, Quarantined("features", words, str(device), why)) and sentence is not None:
        _warn(
            f"a fused front end ({words}) on {device} {sentence}, torch {torch.__version__}. torch's composition is "
            f"used from now on for these arguments. Please report this."
        )


def add_plan(key: tuple, why: str) -> bool:
    """Never again this plan that way, and no warning. Whether that is news."""
    which, device, way = key
    types = (f" of {part}" for part in way if isinstance(part, torch.dtype))
    return _add(plans, key, Quarantined(which[0], fft.describe(*which) + "".join(types), str(device), why))


def add_size(n_fft: int, device: torch.device, gradients_only: bool, why: str) -> bool:
    """Never again front ends of this size for float32 signals, and no warning. Whether that is news."""
    entry = Quarantined("features", f"front ends n_fft={n_fft}", str(device), why)
    keys = [(n_fft, torch.float32, device, wanted) for wanted in {True, gradients_only}]
    return any([_add(front_ends, key, entry) for key in keys])


def entries() -> tuple[Quarantined, ...]:
    return (*plans.values(), *dict.fromkeys(front_ends.values()))


def _warn(text: str) -> None:
    """Attributed to the line of the program that called."""
    warnings.warn(f"mps_spectro_patch: {text}", RuntimeWarning, stacklevel=call_sites.caller()[1])


def _add(table: dict[Hashable, Quarantined], key: Hashable, entry: Quarantined) -> bool:
    is_news = table.setdefault(key, entry) is entry  # in one step: of several threads, one has news
    call_cache.clear()  # cached calls ask nobody any more
    return is_news
