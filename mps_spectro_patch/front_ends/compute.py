"""From a waveform to features: one resolved call of a front end, and how it is run: fused where there are kernels,
else composed of torch's own functions, with the same numbers.

Fused are signals on Apple GPUs, always, and those on devices that enable() or accelerated() name. What such a
call is, is described in spec.py.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.compiler import is_compiling, is_dynamo_compiling

from .. import active, routing
from ..arguments import FeatureArguments
from ..execution import front_end_runner, ready
from ..kernels import fft
from .spec import FrontEnd, Scale, remembered

_FUSED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ops: Any = None  # mps_spectro_patch.ops once something is computed; importing the package registers no operators


def compute(
    x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, call: FrontEnd, use_kernels: bool = True
) -> torch.Tensor:
    """[..., features, frames] of x [..., time], frame by frame in memory; window [win_length], basis [features, freqs].

    float64 stays float64, half becomes float32. Errors are those of torch.stft.
    """
    if use_kernels and (result := again(x, window, basis, call)) is not None:
        return result
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        raise TypeError(f"the waveform must be a floating-point tensor, not {getattr(x, 'dtype', type(x).__name__)}")
    if x.dim() == 0:
        raise ValueError("the waveform must be [..., time]")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    device = x.device
    if window.dtype != dtype or window.device != device:
        window = window.to(device=device, dtype=dtype)
    if basis is not None and (basis.dtype != dtype or basis.device != device):
        basis = basis.to(device=device, dtype=dtype)
    return _compute(x, window, basis, call, use_kernels, True)


def try_fused(x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, call: FrontEnd) -> torch.Tensor | None:
    """compute() of float32 tensors by the kernels, or None where they do not do this call."""
    if (result := again(x, window, basis, call)) is not None:
        return result
    if x.dim() == 0 or not x.numel():
        return None
    return _compute(x, window, basis, call, True, False)


def again(x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, call: FrontEnd) -> torch.Tensor | None:
    """The result, where such a call was made before."""
    if is_dynamo_compiling() or not routing.is_plain_eager():
        return None
    return ready.call(x, window, basis, call, _options())


def _options() -> str | None:
    """What options decide of a front end."""
    options = active.options_here()
    return None if options is None else options.front_ends


def _compute(x, window, basis, call: FrontEnd, use_kernels: bool, must: bool) -> torch.Tensor | None:
    if call.window_norm:
        window = window / window.square().sum().sqrt()
    shape = x.shape
    one = _resolved(call, shape, window.shape[0], None if basis is None else basis.shape[0])
    rows = x if len(shape) == 2 else x.reshape(prod(shape[:-1]), shape[-1])
    if one.outer_pad and (must or one.has_kernels):
        rows = torch.nn.functional.pad(rows, (one.outer_pad, one.outer_pad))
    if not rows.shape[0]:
        values = rows.new_zeros((0, max(0, one.frames), one.arguments.width), dtype=window.dtype).transpose(1, 2)
        return _unfolded(values, shape[:-1])
    result = None
    if use_kernels and one.has_kernels and is_fused(rows, window):
        result = _fused(rows, window, basis, call, one, x)
    if result is None:
        if not must:
            return None
        result = _composed(rows, window, basis, call.scale, one)
    return result if len(shape) == 2 else _unfolded(result, shape[:-1])


class _Resolved(NamedTuple):
    """What follows from a call and the sizes of its tensors."""

    arguments: FeatureArguments  # of the operator, behind its tensors
    frames: int
    rows_per_item: int
    outer_pad: int  # zeros that a copy of the waveform gets first
    has_kernels: bool


@remembered
def _resolved(call: FrontEnd, shape: torch.Size, window: int, bands: int | None) -> _Resolved:
    batch, samples = shape[:-1], shape[-1]
    rows = prod(batch)
    pad = call.n_fft // 2 if call.center else 0
    pad_mode = call.pad_mode if call.center else "constant"
    outer_pad = 0
    if pad_mode == "constant":
        pad += call.pad  # zeros beside zeros
    elif call.pad:
        outer_pad = call.pad
        samples += 2 * outer_pad
    arguments = call.arguments(bands, pad, pad_mode)
    if call.scale.scope == "all":
        rows_per_item = rows
    else:
        rows_per_item = 1 if call.scale.scope == "item" or not batch else batch[-1]
    frames = 1 + (samples + 2 * pad - call.n_fft) // call.hop_length - call.dropped
    return _Resolved(arguments, frames, rows_per_item, outer_pad, _has_kernels(rows, samples, window, arguments))


def is_accelerated(x: torch.Tensor) -> bool:
    """Whether front ends take the fused way for this tensor's device, here."""
    options = active.process if is_compiling() else active.options_here()
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
        from .. import ops as module

        ops = module


def is_fused(rows: torch.Tensor, window: torch.Tensor) -> bool:
    """Whether the kernels are to do this, of what they can."""
    if not is_accelerated(rows) or rows.dtype not in _FUSED_DTYPES or forward_ad._current_level >= 0:
        return False
    if is_compiling():
        known_bad = bool(front_end_runner.off)
        return ops is not None and not known_bad and not routing.is_exporting() and not routing.active_transforms()
    if type(rows) not in routing.TENSORS:
        return False
    return routing.surroundings(rows, window, routing.active_transforms()) is None


def _has_kernels(rows: int, samples: int, window: int, call: FeatureArguments) -> bool:
    """Whether torch would compute this call, and the kernels can."""
    n_fft, hop_length, win_length, pad, pad_mode, *_ = call
    if n_fft < 2 or hop_length < 1 or not 0 < win_length <= n_fft or window != win_length or not _supports(n_fft):
        return False
    padded = samples + 2 * pad
    if not samples or padded < n_fft or pad_mode not in routing.PAD_MODES:
        return False
    if (pad_mode == "reflect" and pad >= samples) or (pad_mode == "circular" and pad > samples):
        return False
    frames = 1 + (padded - n_fft) // hop_length
    largest = max(call.width, n_fft // 2 + 1)  # a backward pass has the bins in memory
    return (
        padded < routing.SAMPLES_MAX
        and rows * padded < routing.ELEMENTS_MAX
        and rows * frames * largest < routing.ELEMENTS_MAX
    )


def _supports(n_fft: int) -> bool:
    return fft.supports(n_fft)


_supports._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a search that dynamo had better not trace


def _fused(rows, window, basis, call: FrontEnd, one: _Resolved, x: torch.Tensor) -> torch.Tensor | None:
    """The kernels' result, or None where they are not to be trusted. rows: of the waveform x."""
    scale, arguments = call.scale, one.arguments
    if is_compiling():
        values = ops.features.features(rows, window, basis, *arguments)
        return finished(values, scale, one.rows_per_item)
    load_operators()
    transformed = torch._C._are_functorch_transforms_active()
    if transformed or torch._C._len_torch_dispatch_stack() or type(rows) is FakeTensor:
        operator = ops.features.eager_features if transformed else ops.features.features
        return finished(operator(rows, window, basis, *arguments), scale, one.rows_per_item)
    needs = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (rows, window, basis))
    if needs or (scale.below is None and scale.deviation_eps is None):

        def run() -> torch.Tensor:
            values = ops.features.eager_features(rows, window, basis, *arguments)
            return finished(values, scale, one.rows_per_item)
    else:

        def run() -> torch.Tensor:
            return _in_two_launches((rows, window, basis), scale, one)

    key = call, None if basis is None else basis.shape, rows.dtype, rows.device, needs
    options = active.options_here()
    result = front_end_runner.run(key, options, run, lambda: _composed(rows, window, basis, scale, one), rows)
    if result is not None and not needs and front_end_runner.is_trusted(key, options):
        if not call.window_norm and not one.outer_pad:
            _make_ready(rows, window, basis, call, one, x)
    return result


def _make_ready(rows, window, basis, call: FrontEnd, one: _Resolved, x: torch.Tensor) -> None:
    scale, shape = call.scale, x.shape
    if shape and x.stride(-1) != 1:
        return
    launch = ops.features.ready_features(
        rows, window, basis, one.rows_per_item, scale.below, scale.after_factor, scale.after_offset,
        scale.deviation_eps, *one.arguments,
    )  # fmt: skip
    if launch is None or (scale.below is None and (scale.after_factor != 1 or scale.after_offset)):
        return
    flat, batch = rows.shape, shape[:-1]

    def folded(x: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        return _unfolded(launch(x.reshape(flat), window), batch)

    run = launch if len(shape) == 2 else folded
    ready.offer(x, window, basis, call, _options(), run)


def _in_two_launches(tensors: tuple, scale: Scale, one: _Resolved) -> torch.Tensor:
    values = None
    if scale.below is not None:
        values = ops.features.run_limited_features(
            *tensors, one.rows_per_item, scale.below, scale.after_factor, scale.after_offset, *one.arguments
        )
        if values is None:
            values = ops.features.run_features(*tensors, *one.arguments)
            return finished(values, scale, one.rows_per_item)
    else:
        values = ops.features.run_features(*tensors, *one.arguments)
    if scale.deviation_eps is not None:
        ops.features.feature_passes.standardise(values, scale.deviation_eps)
    return values


def _composed(rows, window, basis, scale: Scale, one: _Resolved) -> torch.Tensor:
    from ..ops import composite_features

    values = composite_features.features(rows.to(window.dtype), window, basis, *one.arguments)
    return finished(values, scale, one.rows_per_item)
