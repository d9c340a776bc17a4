"""Launches behind the features: what needs all of an item's before any is final. In place, and deterministic."""

from __future__ import annotations

from functools import lru_cache

import torch

from . import dispatch
from .dispatch import RESIDENT_THREADS, Recipe
from .params import DecibelParams, DecibelScale, LimitParams, LimitScale, StandardiseParams

KERNELS = ("msp_decibels", "msp_limit", "msp_standardise")
THREADS = 256  # as in feature_passes.metal
_COLUMNS = 8
_PART = 8 * THREADS  # values that a threadgroup reads at once


def standardise(values: torch.Tensor, eps: float) -> None:
    """In place, [rows, width, frames] frame by frame: features less their mean over time, over deviation + eps."""
    rows, width, frames = values.shape
    if values.numel():
        _standard(rows, width, frames, eps, values.device)(values)


def decibels(
    values: torch.Tensor, items: int, amin: float, factor: float, offset: float, below: float | None
) -> torch.Tensor:
    """factor * log(max(values, amin)) + offset, in the strides of `values`, whose memory has no gaps: one launch, and
    one more for the floor `below` the largest of every item."""
    output = torch.empty_strided(values.shape, values.stride(), dtype=torch.float32, device=values.device)
    if not values.numel():
        return output
    count = values.numel() // items
    parts = _groups(items, count, values.device)
    part = -(-count // parts)
    extremes = torch.empty((items * parts, 2), dtype=torch.float32, device=values.device)
    _decibels(items, count, parts, part, amin, factor, offset, values.device)(values, output, extremes)
    if below is not None:
        limit(items, 1, count, parts, part, below, 1.0, 0.0, values.device)(output, extremes)
    return output


def _groups(items: int, count: int, device: torch.device) -> int:
    """Threadgroups per item."""
    return min(-(-count // THREADS), max(1, 2 * RESIDENT_THREADS[device.type] // THREADS // items))


@lru_cache(maxsize=256)
def limit(
    items: int, rows: int, row: int, listed: int, part: int | None, below: float, factor: float, offset: float,
    device: torch.device,
) -> Recipe:  # fmt: skip
    """Values of every item no lower than `below` under its largest, times factor plus offset; in place.

    A function of the values and of `listed` (largest, least) of each item. Items are `rows` rows of `row` values, one
    after the other in memory. part: there is one (largest, least) for so many values of a row, and one for what is left
    of it; then parts that have nothing to limit are left alone. None: they are of others.
    """
    size = part or _PART
    row_parts = -(-row // size)
    parts = rows * row_parts
    groups = min(parts, _groups(items, rows * row, device))
    params = LimitParams(
        count=rows * row, listed=listed, groups=groups, row=row, row_parts=row_parts, parts=parts, part=size,
        are_listed=part is not None,
    )  # fmt: skip
    args = [None, None, params, LimitScale(below=below, factor=factor, offset=offset)]
    kernel = dispatch.kernel("msp_limit", "", device.type)
    return dispatch.recipe(kernel, args, items * groups, THREADS, device)


@lru_cache(maxsize=256)
def _decibels(
    items: int, count: int, parts: int, part: int, amin: float, factor: float, offset: float, device: torch.device
) -> Recipe:
    scale = DecibelScale(amin=amin, factor=factor, offset=offset)
    args = [None, None, None, DecibelParams(count=count, parts=parts, part=part), scale]
    kernel = dispatch.kernel("msp_decibels", "", device.type)
    return dispatch.recipe(kernel, args, items * parts, THREADS, device)


@lru_cache(maxsize=256)
def _standard(rows: int, width: int, frames: int, eps: float, device: torch.device) -> Recipe:
    groups = -(-width // _COLUMNS)
    kernel = dispatch.kernel("msp_standardise", "", device.type)
    args = [None, StandardiseParams(width=width, frames=frames, groups=groups), float(eps)]
    return dispatch.recipe(kernel, args, rows * groups, THREADS, device)
