"""What kernels of smooth sizes and of any size are told alike about a call: fields of their parameters."""

from __future__ import annotations

from typing import Any

from ..plans.geometry import PAD_MODES, Geometry, IstftGeometry, PaddedEnds
from ..tables.envelope import ends

_FAR = 2**31 - 1  # a position behind every other


def forward_fields(geometry: Geometry, row_stride: int, complex_window: bool = False) -> dict[str, Any]:
    """Of stft, or of the adjoint of istft."""
    head, tail = ends(geometry.n_fft, geometry.hop_length, geometry.frames, complex_window)
    return dict(
        samples=geometry.samples, row_stride=row_stride, frames=geometry.frames,
        total_frames=geometry.rows * geometry.frames, hop_length=geometry.hop_length, pad=geometry.pad,
        pad_mode=PAD_MODES[geometry.pad_mode], win_left=geometry.win_left, win_length=geometry.win_length,
        envelope_head=head, envelope_tail=tail, envelope_end=geometry.untrimmed,
    )  # fmt: skip


def inverse_fields(
    geometry: Geometry, strides: tuple[int, ...], edges: PaddedEnds, complex_window: bool = False
) -> dict[str, Any]:
    """Of istft, or of the adjoint of stft, which has no envelope."""
    head, tail, end = 0, _FAR, _FAR
    if isinstance(geometry, IstftGeometry):
        head, tail = ends(geometry.n_fft, geometry.hop_length, geometry.frames, complex_window)
        end = geometry.untrimmed
    row_stride, bin_stride, frame_stride = strides
    return dict(
        row_stride=row_stride, bin_stride=bin_stride, frame_stride=frame_stride, frames=geometry.frames,
        hop_length=geometry.hop_length, win_left=geometry.win_left, win_length=geometry.win_length,
        first=geometry.pad, length=geometry.length, halo=geometry.halo, runs_begin=edges.runs_begin,
        runs_end=edges.runs_end, envelope_head=head, envelope_tail=tail, envelope_end=end,
        pad_mode=PAD_MODES[geometry.pad_mode], edges=edges.edges,
    )  # fmt: skip
