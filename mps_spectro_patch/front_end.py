"""From a waveform to features: one resolved call of a front end, and how it is run: fused where there are kernels,
else composed of torch's own functions, with the same numbers.

Fused are signals on Apple GPUs, always, and those on devices that enable() or accelerated() name. What the arguments of
the public functions mean is decided in functional.py and transforms/; here they are plain data.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.compiler import is_compiling

from . import front_end_guard, patching, routing
from .kernels import plan

_FUSED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ops: Any = None  # mps_spectro_patch.ops once something is computed; importing the package registers no operators


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


def compute(
    x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, call: FrontEnd, use_kernels: bool = True
) -> torch.Tensor:
    """[..., features, frames] of x [..., time], frame by frame in memory; window [win_length], basis [features, freqs].

    float64 stays float64, half becomes float32. Errors are those of torch.stft.
    """
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        raise TypeError(f"the waveform must be a floating-point tensor, not {getattr(x, 'dtype', type(x).__name__)}")
    if x.dim() == 0:
        raise ValueError("the waveform must be [..., time]")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    window = window.to(device=x.device, dtype=dtype)
    basis = None if basis is None else basis.to(device=x.device, dtype=dtype)
    if call.window_norm:
        window = window / window.square().sum().sqrt()
    batch = x.shape[:-1]
    rows = x.reshape(prod(batch), x.shape[-1])
    center = call.n_fft // 2 if call.center else 0
    pad_mode = call.pad_mode if call.center else "constant"
    if call.pad and pad_mode == "constant":
        center += call.pad  # zeros beside zeros
    elif call.pad:
        rows = torch.nn.functional.pad(rows, (call.pad, call.pad))
    bins = call.n_fft // 2 + 1
    width = basis.shape[0] if basis is not None else bins if call.width is None else call.width
    scale = call.scale
    arguments = (
        call.n_fft, call.hop_length, call.win_length, center, pad_mode, width, call.dropped, float(call.power),
        float(call.eps), float(call.gain), scale.scale, float(scale.amin), float(scale.factor), float(scale.offset),
    )  # fmt: skip
    if not rows.shape[0]:
        frames = max(0, 1 + (rows.shape[1] + 2 * center - call.n_fft) // call.hop_length - call.dropped)
        return _unfolded(rows.new_zeros((0, frames, width), dtype=dtype).transpose(1, 2), batch)
    if scale.scope == "all":
        rows_per_item = rows.shape[0]
    else:
        rows_per_item = 1 if scale.scope == "item" or not batch else batch[-1]
    result = None
    if use_kernels and _is_fused(rows, window, arguments):
        result = _fused(rows, window, basis, call, arguments, rows_per_item)
    if result is None:
        result = _composed(rows, window, basis, call, arguments, rows_per_item)
    return _unfolded(result, batch)


def is_accelerated(x: torch.Tensor) -> bool:
    """Whether front ends take the fused way for this tensor's device, here."""
    options = patching._process if is_compiling() else patching.options_here()
    return x.device.type == "mps" or (options is not None and x.device.type in options.device_types)


def finished(values: torch.Tensor, scale: Scale, rows_per_item: int) -> torch.Tensor:
    """What a Scale does behind its logarithm, in torch's own functions. values: [rows, features, frames]."""
    if scale.below is not None and values.numel():
        packed = values.reshape(-1, rows_per_item, *values.shape[1:]) if rows_per_item > 1 else values.unsqueeze(1)
        floor = packed.amax((1, 2, 3), keepdim=True) - scale.below
        floor = floor.expand(-1, rows_per_item, 1, 1).reshape(-1, 1, 1)
        values = torch.maximum(values, floor)
    if scale.after_factor != 1 or scale.after_offset:
        values = values * scale.after_factor + scale.after_offset
    if scale.deviation_eps is not None:
        deviation = values.std(-1, keepdim=True)
        values = (values - values.mean(-1, keepdim=True)) / (deviation + scale.deviation_eps)
    return values


def _unfolded(values: torch.Tensor, batch: torch.Size) -> torch.Tensor:
    return values.squeeze(0) if not batch else values.unflatten(0, batch) if len(batch) > 1 else values


def load_operators() -> None:
    """Registers the operators, which compiled code must not meet for the first time."""
    global ops
    if ops is None:
        from . import ops as module

        ops = module


def _is_fused(rows: torch.Tensor, window: torch.Tensor, arguments: tuple) -> bool:
    if not is_accelerated(rows) or rows.dtype not in _FUSED_DTYPES or forward_ad._current_level >= 0:
        return False
    if is_compiling():
        if ops is None or routing.is_exporting() or routing._transforms():
            return False
    elif type(rows) not in routing._TENSORS or routing._surroundings(rows, window, routing._transforms()) is not None:
        return False
    return _has_kernels(rows.shape[0], rows.shape[1], window.shape[0], *arguments[:6])


def _has_kernels(
    rows: int, samples: int, window: int, n_fft: int, hop_length: int, win_length: int, pad: int, pad_mode: str,
    width: int,
) -> bool:  # fmt: skip
    """Whether torch would compute this call, and the kernels can."""
    if n_fft < 2 or hop_length < 1 or not 0 < win_length <= n_fft or window != win_length or not _supports(n_fft):
        return False
    padded = samples + 2 * pad
    if not samples or padded < n_fft or pad_mode not in routing.PAD_MODES:
        return False
    if (pad_mode == "reflect" and pad >= samples) or (pad_mode == "circular" and pad > samples):
        return False
    frames = 1 + (padded - n_fft) // hop_length
    largest = max(width, n_fft // 2 + 1)  # a backward pass has the bins in memory
    return (
        padded < routing.SAMPLES_MAX
        and rows * padded < routing.ELEMENTS_MAX
        and rows * frames * largest < routing.ELEMENTS_MAX
    )


def _supports(n_fft: int) -> bool:
    return plan.supports(n_fft)


_supports._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a search that dynamo had better not trace


def _fused(rows, window, basis, call: FrontEnd, arguments: tuple, rows_per_item: int) -> torch.Tensor | None:
    """The kernels' result, or None where they are not to be trusted."""
    scale = call.scale
    if is_compiling():
        values = torch.ops.mps_spectro_patch.features.default(rows, window, basis, *arguments)
        return finished(values, scale, rows_per_item)
    load_operators()
    tensors = rows, window, basis
    needs = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    plain = type(rows) is torch.Tensor or type(rows) is torch.nn.Parameter
    plain = plain and not torch._C._len_torch_dispatch_stack() and not torch._C._are_functorch_transforms_active()

    def run() -> torch.Tensor:
        if not plain:
            transformed = torch._C._are_functorch_transforms_active()
            operator = ops.features.eager_features if transformed else ops.features.features
            return finished(operator(*tensors, *arguments), scale, rows_per_item)
        if needs or (scale.below is None and scale.deviation_eps is None):
            return finished(ops.features.eager_features(*tensors, *arguments), scale, rows_per_item)
        return _in_two_launches(tensors, scale, arguments, rows_per_item)

    if not plain:
        return run()
    key = call, None if basis is None else basis.shape, rows.dtype, rows.device, needs
    return front_end_guard.run(
        key, patching.options_here(), run, lambda: _composed(rows, window, basis, call, arguments, rows_per_item), rows
    )


def _in_two_launches(tensors: tuple, scale: Scale, arguments: tuple, rows_per_item: int) -> torch.Tensor:
    values = None
    if scale.below is not None:
        values = ops.features.run_limited_features(
            *tensors, rows_per_item, scale.below, scale.after_factor, scale.after_offset, *arguments
        )
    if values is None:
        values = ops.features.run_features(*tensors, *arguments)
        if scale.deviation_eps is None or scale.below is not None:
            return finished(values, scale, rows_per_item)
    if scale.deviation_eps is not None:
        ops.features.kernels.standardise(values, scale.deviation_eps)
    return values


def _composed(rows, window, basis, call: FrontEnd, arguments: tuple, rows_per_item: int) -> torch.Tensor:
    from .ops import composite_features

    values = composite_features.features(rows.to(window.dtype), window, basis, *arguments)
    return finished(values, call.scale, rows_per_item)
