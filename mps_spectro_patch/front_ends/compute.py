"""From a waveform to features: one resolved call of a front end, and how it is run: fused where there are kernels,
else composed of torch's own functions, with the same numbers.

Fused are signals on Apple GPUs, always, and those on devices that enable() or accelerated() name. What such a
call is, is described in spec.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.compiler import is_compiling, is_dynamo_compiling

from .. import active, routing
from ..arguments import FeatureArguments
from ..execution import (
    call_cache,
    call_sites,
    counters,
    launches,
    load_operators,
    parts,
    quarantine,
    runner,
    trouble,
    verification,
)  # fmt: skip
from ..kernels import fft, gapless, readable
from ..options import Options
from ..reasons import Reason
from ..tensors import PLAIN, wants_gradient
from .spec import FrontEnd, Scale, remembered

_FUSED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def compute(
    x: Tensor, window: Tensor, basis: Tensor | None, call: FrontEnd, use_kernels: bool = True, name: str = "front_end"
) -> Tensor:
    """[..., features, frames] of x [..., time]; window [win_length], basis [features, freqs]. In memory as `call` says.

    float64 stays float64, half becomes float32. Errors are those of torch.stft. name: under which the call is counted.
    """
    return _run(x, window, basis, call, use_kernels, True, name)


def try_fused(
    x: Tensor, window: Tensor, basis: Tensor | None, call: FrontEnd, name: str = "front_end"
) -> Tensor | None:
    """compute() of float32 tensors by the kernels, or None where they do not do this call."""
    return _run(x, window, basis, call, True, False, name)


def precision(x: Tensor) -> torch.dtype:
    """Of the result."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _run(x, window, basis, call: FrontEnd, use_kernels: bool, must: bool, name: str) -> Tensor | None:
    """must: by torch's functions where there is no kernel, else None."""
    if is_dynamo_compiling() or not use_kernels:
        return _full_path(x, window, basis, call, use_kernels, must, name)
    options = None
    try:
        here = active.scope.get()  # active.options_here(), which would be half of what is done here
        options = active.process if here is None else here.options
        answer = partial(_answer, x, window, basis, call, must, name, options)
        if type(x) in PLAIN and (x.is_mps or call_sites.everything or (options is not None and options.concerns(x))):
            if call_sites.is_due(name):
                return call_sites.call(name, (x, call.n_fft, call.hop_length, call.win_length, basis), answer)
        return answer()
    except Exception as error:
        if runner.goes_on(options, error):
            raise
        found = trouble.trouble_of(error)
    # Where the error was the call's own, it is raised again here.
    result = _full_path(x, window, basis, call, False, must, name) if must else None
    trouble.give_up(name, found)
    return result


def _answer(x, window, basis, call: FrontEnd, must: bool, name: str, options: Options | None) -> Tensor | None:
    """A cached launch, or the full path."""
    entries = call_cache.entries
    key, known = call_cache.find_front_end(name, options, x, window, basis, call)
    if known is not None:
        given = (x, window, basis) if x.requires_grad and torch.is_grad_enabled() else (x, window)
        if (result := call_cache.launched(key, known, *given)) is not None:
            return result
    return _full_path(x, window, basis, call, True, must, name, None if key is None else (entries, key))


def _full_path(
    x, window, basis, call: FrontEnd, use_kernels: bool, must: bool, name: str, place: tuple | None = None
) -> Tensor | None:
    """place: in the cache, where such a call is to be remembered."""
    if must:
        _check(x)
        device, dtype = x.device, precision(x)
        if window.dtype != dtype or window.device != device:
            window, place = window.to(device=device, dtype=dtype), None
        if basis is not None and (basis.dtype != dtype or basis.device != device):
            basis, place = basis.to(device=device, dtype=dtype), None
    elif not x.dim() or not x.numel() or not all(_fits(one, x) for one in (window, basis) if one is not None):
        return None
    if call.window_norm:
        window = window / window.square().sum().sqrt()
    shape = x.shape
    one = _resolved(call, shape, None if basis is None else basis.shape[0])
    obstacle = _obstacle(shape, window.shape[0], one) if use_kernels else None
    rows = x if len(shape) == 2 else x.reshape(prod(shape[:-1]), shape[-1])
    if one.outer_pad and (must or obstacle is None):
        rows = torch.nn.functional.pad(rows, (one.outer_pad, one.outer_pad))
    if not rows.shape[0]:
        n_fft, hop_length, _, pad, _, width, dropped, *_ = one.arguments
        frames = max(0, 1 + (rows.shape[1] + 2 * pad - n_fft) // hop_length - dropped)
        values = rows.new_zeros((0, frames, width), dtype=window.dtype).transpose(1, 2)
        return _unfolded(values, shape[:-1])

    result = None
    if use_kernels:
        reason = obstacle or why_composed(rows, window)
        if reason is None:
            result = _fused(x, rows, window, basis, call, one, must, name, place)
        elif not is_compiling():
            counters.count(name, reason)
    if result is None and must:
        result = _composed(rows, window, basis, call.scale, one)
    return None if result is None else _unfolded(result, shape[:-1])


def _check(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"the waveform must be a floating-point tensor, not {getattr(x, 'dtype', type(x).__name__)}")
    if x.dim() == 0:
        raise ValueError("the waveform must be [..., time]")


def _fits(tensor: Tensor, x: Tensor) -> bool:
    """Whether kernels read it as it is."""
    return tensor.dtype == precision(x) and tensor.device == x.device and tensor.layout is torch.strided


class _Resolved(NamedTuple):
    """What follows from a call and the sizes of its tensors."""

    arguments: FeatureArguments  # of the operator, behind its tensors
    rows_per_item: int
    outer_pad: int  # zeros that a copy of the waveform gets first


@remembered
def _resolved(call: FrontEnd, shape: torch.Size, bands: int | None) -> _Resolved:
    batch = shape[:-1]
    pad = call.n_fft // 2 if call.center else call.edges
    pad_mode = call.pad_mode if call.center or call.edges else "constant"
    outer_pad = 0 if pad_mode == "constant" else call.pad
    pad += call.pad - outer_pad  # zeros beside zeros
    arguments = call.arguments(bands, pad, pad_mode)
    if call.scale.scope == "all":
        rows_per_item = prod(batch)
    else:
        rows_per_item = 1 if call.scale.scope == "item" or not batch else batch[-1]
    return _Resolved(arguments, rows_per_item, outer_pad)


def is_accelerated(x: Tensor) -> bool:
    """Whether front ends are fused for this tensor's device, here."""
    options = active.process if is_compiling() else active.options_here()
    return x.device.type == "mps" or (options is not None and x.device.type in options.device_types)


def finished(
    values: Tensor, rows_per_item: int, below: float | None, factor: float, offset: float, deviation_eps: float | None
) -> Tensor:
    """What a Scale does behind its logarithm, in what TorchScript knows. values: [rows, features, frames]."""
    if below is not None and values.numel() > 0:
        packed = values.reshape(-1, rows_per_item, values.shape[1], values.shape[2])
        floor = packed.amax((1, 2, 3), keepdim=True) - below
        values = torch.maximum(packed, floor).reshape(values.shape)
    if factor != 1 or offset != 0:
        values = values * factor + offset
    if deviation_eps is not None:
        deviation = values.std(-1, keepdim=True)
        values = (values - values.mean(-1, keepdim=True)) / (deviation + deviation_eps)
    return values


def _unfolded(values: Tensor, batch: torch.Size) -> Tensor:
    return values.squeeze(0) if not batch else values.unflatten(0, batch) if len(batch) > 1 else values


def why_composed(rows: Tensor, window: Tensor) -> Reason | None:
    """Why the kernels are not to do this, though they could."""
    if not is_accelerated(rows):
        return Reason.DEVICE
    if rows.dtype not in _FUSED_DTYPES:
        return Reason.DTYPE
    if forward_ad._current_level >= 0:
        return Reason.FORWARD_AD
    if is_compiling():
        if launches.ops is None or quarantine.front_ends:  # compiled code cannot look one front end up
            return Reason.QUARANTINED
        return Reason.TRACING if routing.is_exporting() or routing.active_transforms() else None
    if type(rows) not in routing.TENSORS:
        return Reason.TYPE
    return routing.surroundings(rows, window, routing.active_transforms())


@remembered
def _obstacle(shape: torch.Size, window: int, one: _Resolved) -> Reason | None:
    call = one.arguments
    largest = max(call.width, call.n_fft // 2 + 1)  # a backward pass has the bins in memory
    return obstacle(prod(shape[:-1]), shape[-1] + 2 * one.outer_pad, window, largest, *call.framing())


def obstacle(
    rows: int, samples: int, window: int, largest: int, n_fft: int, hop_length: int, win_length: int, pad: int,
    pad_mode: str,
) -> Reason | None:  # fmt: skip
    """Why torch would not compute a call with this framing, or the kernels cannot. largest: numbers of a frame."""
    if n_fft < 2 or not _supports(n_fft):
        return Reason.N_FFT
    if hop_length < 1:
        return Reason.HOP_LENGTH
    if not 0 < win_length <= n_fft or window != win_length:
        return Reason.WIN_LENGTH
    if not samples:
        return Reason.EMPTY
    padded = samples + 2 * pad
    if padded < n_fft:
        return Reason.TOO_SHORT
    if pad_mode not in routing.PAD_MODES:
        return Reason.PAD_MODE
    if (pad_mode == "reflect" and pad >= samples) or (pad_mode == "circular" and pad > samples):
        return Reason.PAD_LENGTH
    frames = 1 + (padded - n_fft) // hop_length
    if padded >= routing.SAMPLES_MAX or rows * padded >= routing.ELEMENTS_MAX:
        return Reason.TOO_LARGE
    return Reason.TOO_LARGE if rows * frames * largest >= routing.ELEMENTS_MAX else None


@routing.asked_while_tracing(False)  # a search that dynamo had better not trace
def _supports(n_fft: int) -> bool:
    return fft.supports(n_fft)


def _fused(
    x, rows, window, basis, call: FrontEnd, one: _Resolved, must: bool, name: str, place: tuple | None
) -> Tensor | None:
    """The kernels' result, or None where they are not to be trusted. rows: of the waveform x."""
    scale, arguments = call.scale, one.arguments
    if is_compiling():
        values = launches.ops.features.features(rows, window, basis, *arguments)
        return finished(values, one.rows_per_item, *scale.finishing())
    load_operators()
    features = launches.ops.features
    transformed = torch._C._are_functorch_transforms_active()
    if transformed or torch._C._len_torch_dispatch_stack() or type(rows) is FakeTensor:
        operator = features.eager_features if transformed else features.features
        return finished(operator(rows, window, basis, *arguments), one.rows_per_item, *scale.finishing())
    needs = wants_gradient(rows, window, basis)
    # Only the launch of a floor does more than the logarithm, and standardising is in place.
    in_kernels = not needs and (scale.below is not None or (scale.after_factor == 1 and not scale.after_offset))
    is_recorded = needs and scale.finishing() == Scale().finishing() and not wants_gradient(window, basis)
    known: tuple = None, ()

    def fused(rows: Tensor, rows_per_item: int) -> tuple[Tensor, Callable | None, tuple]:
        """(the features, the launch that made them, what it read)."""
        if in_kernels or is_recorded:
            given = readable(rows.resolve_neg()), gapless(window.resolve_neg())
            if in_kernels:
                launch = features.ready_features(*given, basis, rows_per_item, *scale.finishing(), *arguments)
            else:
                given = *given, basis
                launch = features.recorded_features(*given, *arguments)
            if launch is not None:
                return launch(*given), launch, given
        values = features.eager_features(rows, window, basis, *arguments)
        if in_kernels and scale.below is None and scale.deviation_eps is not None:
            features.feature_passes.standardise(values, scale.deviation_eps)
            return values, None, ()
        return finished(values, rows_per_item, *scale.finishing()), None, ()

    def run() -> Tensor:
        nonlocal known
        values, *known = fused(rows, one.rows_per_item)
        return values

    key = call, None if basis is None else basis.shape, rows.dtype, rows.device, needs
    original = partial(_composed, rows, window, basis, scale, one) if must else lambda: None
    compared = partial(_compared, name, rows, window, basis, scale, one, fused)
    result, trusted = runner.call_front_end(name, active.options_here(), key, run, compared, rows, original)
    launch, given = known
    is_as_given = launch is not None and given[0] is rows and given[1] is window
    if trusted and place is not None and is_as_given and not call.window_norm and not one.outer_pad:
        again = launch if x.dim() == 2 else _of_batches(launch, rows.shape, x.shape[:-1])
        if call_cache.has_values(place[1], basis):
            call_cache.remember(*place, call_cache.Known(name, again, None, keep=call))
    return result


def _compared(
    name: str, rows: Tensor, window: Tensor, basis: Tensor | None, scale: Scale, one: _Resolved, fused: Callable,
    result: Tensor,
) -> tuple[str, bool]:  # fmt: skip
    """(what is wrong with the fused result, or nothing; whether there was anything to compare).

    Of a call whose comparison would need much memory, the first rows and frames.
    """
    piece = parts.beginning(rows, one.arguments)
    mine, inner = (result,), None
    if piece is not rows:
        one = one._replace(rows_per_item=len(piece))
        mine = (fused(piece, one.rows_per_item)[0],)
        if scale.below is None and scale.deviation_eps is None:  # those depend on what comes later
            inner = slice(*parts.inner_frames(piece.shape[-1], one.arguments))
            mine = *mine, result[: len(piece), :, inner]

    def reference(*tensors: Tensor) -> tuple[Tensor, ...]:
        values = _composed(*tensors, scale, one)
        return (values,) if inner is None else (values, values[..., inner])

    def judge(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> tuple[str, bool]:
        found = [verification.judge_front_end(*pair, scale) for pair in zip(ours, theirs, strict=True)]
        return "; ".join(wrong for wrong, _ in found if wrong), any(told for _, told in found)

    return verification.judge_by(name, judge, mine, reference, (piece, window, basis))


def _of_batches(launch: Callable, flat: torch.Size, batch: torch.Size) -> Callable:
    """`launch`, which takes rows of the shape `flat`, for waveforms [*batch, time]."""
    return lambda x, *others: _unfolded(launch(x.reshape(flat), *others), batch)


def _composed(rows, window, basis, scale: Scale, one: _Resolved) -> Tensor:
    from ..ops import composite_features

    values = composite_features.features(rows.to(window.dtype), window, basis, *one.arguments)
    return finished(values, one.rows_per_item, *scale.finishing())
