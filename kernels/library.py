"""From a geometry to a launch: compiles each plan once per device type, keeps recipes, allocates outputs.

A call is turned into a recipe once (plan, tables, run-time arguments, grid) and only executed afterwards. Arguments are
taken as valid: routing has made sure of that. Nothing here knows about autograd or patching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch

from . import compile_shader
from .envelope import inverse_envelope
from .geometry import PAD_MODES, IstftGeometry, StftGeometry
from .plan import Plan, istft_plan, stft_plan
from .tables import pair_twiddles, stage_twiddles

_SOURCES = {"msp_stft": ("complex", "fft", "stft"), "msp_istft": ("complex", "fft", "istft")}
_DEVICE_NAMES = {"cpu": "simulator", "cuda": "cuda", "mps": "mps"}

# Threads that a device keeps resident at the kernels' 128 registers each (H100: 132 x 512; Apple: a guess for a Max,
# not measured). stft gives a threadgroup several frames, so that a lane's constants are loaded once, while that leaves
# _WAVES times as many threads; istft runs are as long as one wave of threadgroups allows, so that fewer frames are
# transformed twice.
_RESIDENT_THREADS = {"cpu": 256, "cuda": 67_584, "mps": 20_480}
_WAVES = 4
_STEPS_MAX = 4

_poison = False


def kernel_source(plan: Plan) -> str:
    """The Metal text of a plan's kernel, as given to every compiler."""
    name = "msp_istft" if plan.inverse else "msp_stft"
    parts = [_read(part) for part in _SOURCES[name]]
    return "#include <metal_stdlib>\nusing namespace metal;\n\n" + plan.defines() + "\n" + "\n".join(parts)


@cache
def kernel(plan: Plan, device_type: str) -> Callable[..., None]:
    """The compiled kernel of a plan on a device type ("cpu" runs the simulator)."""
    library = compile_shader(kernel_source(plan), _DEVICE_NAMES[device_type])
    return getattr(library, "msp_istft" if plan.inverse else "msp_stft")


def stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    """Spectra [rows, bins, frames] complex64, frame by frame in memory, of signal [rows, samples] float32.

    window: [win_length] float32 on the signal's device.
    """
    if signal.stride(1) != 1:
        signal = signal.contiguous()
    device = signal.device
    window = window.contiguous()
    paired_window = geometry.win_length == geometry.n_fft and _starts_at_pair(window)
    recipe = _stft_recipe(geometry, signal.stride(0), _starts_at_pair(signal), paired_window, device)
    # Not a transposed view: torch's result is none, and autograd tells them apart.
    shape = geometry.rows, geometry.bins, geometry.frames
    spectrum = _empty(shape, (geometry.frames * geometry.bins, 1, geometry.bins), torch.complex64, device)
    recipe(signal, window, spectrum)
    return spectrum


def istft(spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> torch.Tensor | None:
    """Signals [rows, length] float32 of spectrum [rows, bins, frames] complex64 (any strides, no conjugate bit).

    None where the window's envelope comes too close to zero somewhere in the output, which torch.istft refuses.
    """
    device = spectrum.device
    envelope = inverse_envelope(
        window, geometry.n_fft, geometry.hop_length, geometry.frames, geometry.first, geometry.length
    )
    if envelope is None:
        return None
    window = window.contiguous()
    paired_window = geometry.win_length == geometry.n_fft and _starts_at_pair(window)
    recipe = _istft_recipe(geometry, spectrum.stride(), envelope.head, envelope.tail, paired_window, device)
    signal = _empty((geometry.rows, geometry.length), (geometry.length, 1), torch.float32, device)
    recipe(spectrum, window, envelope.table, signal)
    return signal


@contextmanager
def poisoned_outputs() -> Iterator[None]:
    """For tests: outputs are full of NaN before a kernel runs, so that an unwritten element shows."""
    global _poison
    before, _poison = _poison, True
    try:
        yield
    finally:
        _poison = before


# A recipe is everything of a launch that does not change from call to call, as a function of the tensors that do.
_Recipe = Callable[..., None]


@lru_cache(maxsize=1024)
def _stft_recipe(
    geometry: StftGeometry, row_stride: int, paired: bool, paired_window: bool, device: torch.device
) -> _Recipe:
    plan = stft_plan(geometry.n_fft)
    total = geometry.rows * geometry.frames
    steps = min(_STEPS_MAX, max(1, total * plan.lanes // (_WAVES * _RESIDENT_THREADS[device.type])))
    groups = -(-total // (plan.frames * steps))
    # Two samples are read as one float2 where every frame starts on such a boundary.
    paired = (
        paired
        and geometry.hop_length % 2 == 0
        and geometry.pad % 2 == 0
        and (row_stride % 2 == 0 or geometry.rows == 1)
    )
    params = [
        geometry.samples, row_stride, geometry.frames, total, geometry.hop_length, geometry.pad,
        PAD_MODES[geometry.pad_mode], geometry.win_left, geometry.win_length, steps, int(paired),
        int(paired_window),
    ]  # fmt: skip
    return _recipe(plan, params, geometry.scale, groups, device)


@lru_cache(maxsize=1024)
def _istft_recipe(
    geometry: IstftGeometry, strides: tuple[int, ...], head: int, tail: int, paired_window: bool, device: torch.device
) -> _Recipe:
    plan = istft_plan(geometry.n_fft)
    # A run transforms its halo again: at most as much as its own frames, less once the device is busy anyway.
    groups = max(1, _RESIDENT_THREADS[device.type] // plan.threads)
    run_hops = max(-(-geometry.rows * geometry.hops // groups), geometry.halo, 1)
    run_hops = -(-(run_hops + geometry.halo) // plan.frames) * plan.frames - geometry.halo
    run_hops = max(run_hops, 1)
    runs = -(-geometry.hops // run_hops)
    params = [
        *strides, geometry.frames, geometry.hop_length, geometry.win_left, geometry.win_length, geometry.first,
        geometry.length, runs, run_hops, geometry.halo, geometry.first_hop, head, tail,
        int(paired_window),
    ]  # fmt: skip
    return _recipe(plan, params, geometry.scale, geometry.rows * runs, device)


def _recipe(plan: Plan, params: list[int], scale: float, groups: int, device: torch.device) -> _Recipe:
    compiled = kernel(plan, device.type)
    twiddles = stage_twiddles(plan, device)
    pairs = pair_twiddles(plan.n_fft, plan.pair_bins, device)
    # None: input, window, (envelope,) and output, which every call brings.
    args = [None, None, twiddles, pairs, *[None] * (2 if plan.inverse else 1), params, scale]
    options: dict[str, Any] = dict(
        threads=groups * plan.threads, group_size=plan.threads, arg_casts={len(args) - 2: "int32"}
    )
    if hasattr(compiled, "prepare"):
        return compiled.prepare(args, index=device.index or 0, **options)

    def launch(*tensors: torch.Tensor) -> None:
        brought = iter(tensors)
        compiled(*[next(brought) if arg is None else arg for arg in args], **options)

    return launch


def _starts_at_pair(signal: torch.Tensor) -> bool:
    """Whether the first sample sits at a multiple of 8 bytes (MPS gives no addresses, but buffers start aligned)."""
    if signal.device.type == "mps":
        return signal.storage_offset() % 2 == 0
    return signal.data_ptr() % 8 == 0


def _empty(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    empty = torch.empty_strided(shape, strides, dtype=dtype, device=device)
    return empty.fill_(float("nan")) if _poison else empty


@cache
def _read(part: str) -> str:
    return (Path(__file__).parent / f"{part}.metal").read_text(encoding="ascii")
