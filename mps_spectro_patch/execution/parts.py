"""What of a call is compared: all of it, or, where that would need much memory, a part at either end.

The original computes a part from a part of the input, with the same arguments otherwise. What it gives there must be
what the fast result of the whole call has in that place. So a comparison takes some 50 MB at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..arguments import FeatureArguments, LossArguments, StftArguments
from ..reasons import Call
from . import launches

# frames * n_fft of all rows that are compared at once: the original and the comparison take some 100 bytes for each.
LIMIT = 2**19


class Part(NamedTuple):
    """A call whose result is the reference: of the original with these arguments, or (None) of the program's own call.

    mine, theirs: the places in the whole result and in the reference that must agree. size: of the whole result's last
    dimension.
    """

    input: Tensor
    call: Call
    arguments: tuple | None = None
    mine: tuple = (...,)
    theirs: tuple = (...,)
    size: int | None = None


def of(op: str, arguments: tuple, call: Call) -> tuple[Part, ...]:
    """What to compare of a call of stft or istft. arguments: the program's; call: the answer of routing."""
    input, wanted = arguments[0], call.arguments
    if op == "stft":
        size = _frames(input.shape[-1], wanted)
        has_rows, of_a_row = input.dim() == 2, size * wanted.n_fft
    else:
        size = wanted.length
        has_rows, of_a_row = input.dim() == 3, input.shape[-1] * wanted.n_fft
    rows = input.shape[0] if has_rows else 1
    if rows * of_a_row <= LIMIT:
        return (Part(input, call),)
    window = launches.ones(wanted.win_length, input.device) if arguments[4] is None else arguments[4]
    arguments = *arguments[:4], window, *arguments[5:]  # with a window, torch has nothing to warn about
    some = max(1, LIMIT // of_a_row)
    found = []
    cuts = _cuts_of_signal if op == "stft" else _cuts_of_spectrum
    for number, (begin, end, changed, of_call, mine, theirs) in enumerate(cuts(input.shape[-1], arguments, call)):
        piece, place = input.detach()[..., begin:end], (..., slice(*mine))
        if has_rows:
            chosen = slice(some) if number == 0 else slice(rows - some, rows)
            piece, place = piece[chosen], (chosen, *place)
        piece.requires_grad_(input.requires_grad)
        given = piece, *(changed.get(position, value) for position, value in enumerate(arguments[1:], 1))
        found.append(Part(piece, of_call._replace(as_real=False), given, place, (..., slice(*theirs)), size))
    return tuple(found)


def beginning(rows: Tensor, wanted: FeatureArguments | LossArguments) -> Tensor:
    """So much of rows [rows, samples] of a front end as is compared: all, or the first rows or samples."""
    of_a_row = _frames(rows.shape[1], wanted) * wanted.n_fft
    if rows.shape[0] * of_a_row <= LIMIT:
        return rows
    samples = max(LIMIT // wanted.n_fft * wanted.hop_length, 2 * wanted.n_fft)
    return rows[: max(1, LIMIT // of_a_row), :samples]


def inner_frames(samples: int, wanted: FeatureArguments) -> tuple[int, int]:
    """From which frame to which samples [0, samples) decide about those of a longer signal."""
    hop, pad = wanted.hop_length, wanted.pad
    first = -(-pad // hop) if wanted.pad_mode == "circular" else 0
    return first, max(first, 1 + (samples + pad - wanted.n_fft) // hop)


def complex_result(result: Tensor, call: Call) -> Tensor:
    return torch.view_as_complex(result) if call.as_real else result


def _frames(samples: int, wanted: StftArguments | FeatureArguments | LossArguments) -> int:
    return 1 + (samples + 2 * wanted.pad - wanted.n_fft) // wanted.hop_length


# What a cut is: from which sample or frame of the input to which, the arguments that differ (by position), the call of
# routing, and from which frame or sample to which of the whole result and of the reference.
_Cut = tuple[int, int, dict, Call, tuple[int, int], tuple[int, int]]


def _cuts_of_signal(samples: int, arguments: tuple, call: Call) -> Iterator[_Cut]:
    n_fft, hop, _, pad, pad_mode, *_ = wanted = call.arguments
    changed, frames = {9: True}, LIMIT // n_fft  # return_complex: a real result has a warning
    if _frames(samples, wanted) <= frames:
        whole = 0, _frames(samples, wanted)
        yield from [(0, samples, changed, call, whole, whole)] * 2
        return
    first, kept = 0, pad
    if pad > hop * (frames // 4):  # more frames of padding than one may afford: a part within the signal
        changed, first, kept = changed | {5: False, 10: None}, -pad % hop, 0
    taken = (frames - 1) * hop + n_fft - kept
    lead = -(-kept // hop)  # frames that reach into the padding
    for begin in (first, first + (samples - taken - first) // hop * hop):
        end = samples if begin > first else begin + taken
        count = 1 + (end - begin + 2 * kept - n_fft) // hop
        is_padded = kept > 0 and pad_mode == "circular"  # with samples of the other end
        skipped = lead if is_padded or begin > 0 else 0
        count -= lead if kept and (is_padded or end < samples) else 0
        offset = (begin + pad - kept) // hop
        yield (
            begin, end, changed, call._replace(arguments=wanted._replace(pad=kept)),
            (offset + skipped, offset + count), (skipped, count),
        )  # fmt: skip


def _cuts_of_spectrum(count: int, arguments: tuple, call: Call) -> Iterator[_Cut]:
    n_fft, hop, _, start, *_, length, _ = wanted = call.arguments
    frames = max(LIMIT // n_fft, 2 * -(-n_fft // hop))

    def cut(begin: int, end: int, skipped: int, samples: int) -> _Cut:
        of_call = call._replace(arguments=wanted._replace(length=samples))
        offset = begin * hop
        return begin, end, {8: samples}, of_call, (offset + skipped, offset + samples), (skipped, samples)

    if count <= frames:
        yield from [cut(0, count, 0, min(length, n_fft + hop * (count - 1) - start))] * 2
        return
    yield cut(0, frames, 0, min(length, frames * hop - start))  # samples that no further frame reaches
    begin = count - frames
    skipped = max(0, n_fft - hop - start)  # that frames before reach
    samples = min(length - begin * hop, n_fft + hop * (frames - 1) - start)
    if samples > skipped:
        yield cut(begin, count, skipped, samples)
