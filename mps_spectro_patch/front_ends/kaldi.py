"""Kaldi's filterbank energies: windows, and how a call is run: fused where there are kernels, else composed of torch's
own functions, with the same numbers. A call is KaldiArguments; its numbers are those of torchaudio.compliance.kaldi.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.compiler import is_compiling

from .. import active
from ..arguments import KaldiArguments
from ..execution import counters, launches, load_operators, parts, runner, trouble, verification
from ..kernels import kaldi as kernels
from ..reasons import Reason
from ..tensors import wants_gradient
from .compute import obstacle, precision, why_composed
from .spec import Scale

EPSILON = torch.finfo(torch.float32).eps  # Kaldi's floor of an energy
WINDOWS = ("hamming", "hanning", "povey", "rectangular", "blackman")
NO_FLOOR = -1e30  # no logarithm of an energy is so small


def make_window(window_type: str, win_length: int, blackman_coeff: float) -> Tensor:
    """[win_length] float64: Kaldi's window of this name."""
    phase = torch.arange(win_length, dtype=torch.float64, device="cpu") * (2 * math.pi / (win_length - 1))
    if window_type == "rectangular":
        return torch.ones_like(phase)
    if window_type == "hamming":
        return 0.54 - 0.46 * phase.cos()
    if window_type == "blackman":
        return blackman_coeff - 0.5 * phase.cos() + (0.5 - blackman_coeff) * (2 * phase).cos()
    hann = torch.hann_window(win_length, periodic=False, dtype=torch.float64, device="cpu")
    return hann**0.85 if window_type == "povey" else hann


def floor_of(energy_floor: float) -> float:
    """Of an energy's logarithm. Raises ValueError for a negative energy."""
    return NO_FLOOR if energy_floor == 0 else math.log(energy_floor)


def compute(x: Tensor, window: Tensor, basis: Tensor, call: KaldiArguments, use_kernels: bool, name: str) -> Tensor:
    """[..., frames, features] of x [..., time]; window [win_length], basis [bands, n_fft // 2 + 1].

    float64 stays float64, half becomes float32. name: under which the call is counted. Raises RuntimeError for signals
    that are shorter than a frame.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"the waveform must be a floating-point tensor, not {getattr(x, 'dtype', type(x).__name__)}")
    if x.dim() == 0 or x.shape[-1] < call.win_length:
        raise RuntimeError(f"the waveform must be [..., time], {call.win_length} samples at least, not {list(x.shape)}")
    dtype = precision(x)
    window, basis = window.to(x.device, dtype), basis.to(x.device, dtype)
    rows = x.reshape(-1, x.shape[-1]).to(dtype)
    result = None
    if not rows.shape[0]:
        result = rows.new_zeros((0, kernels.Kaldi(*call).frames(rows.shape[1]), basis.shape[0] + (call.energy != "")))
    elif use_kernels:
        try:
            result = try_fused(rows, window, basis, call, name)
        except Exception as error:
            if is_compiling() or runner.goes_on(active.options_here(), error):
                raise
            trouble.give_up(name, trouble.trouble_of(error))
    if result is None:
        result = _composed(rows, window, basis, call)
    return result.reshape(*x.shape[:-1], *result.shape[1:])


def try_fused(rows: Tensor, window: Tensor, basis: Tensor, call: KaldiArguments, name: str) -> Tensor | None:
    """compute() of float32 rows [rows, samples] by the kernels, or None where they do not do this call."""
    reason = _why_not(rows, window, basis, call)
    if reason is not None:
        if not is_compiling():
            counters.count(name, reason)
        return None
    if is_compiling():
        return launches.ops.kaldi.kaldi(rows, window, basis, *call)
    ops = launches.ops.kaldi
    transformed = torch._C._are_functorch_transforms_active()
    if transformed or torch._C._len_torch_dispatch_stack() or type(rows) is FakeTensor:
        return (ops.eager_kaldi if transformed else ops.kaldi)(rows, window, basis, *call)
    key = call, basis.shape, rows.dtype, rows.device, wants_gradient(rows, window, basis)
    fused, compared = (
        partial(ops.eager_kaldi, rows, window, basis, *call),
        partial(_compared, name, rows, window, basis, call),
    )
    return runner.call_front_end(name, active.options_here(), key, fused, compared, rows, lambda: None)[0]


def _why_not(rows: Tensor, window: Tensor, basis: Tensor, call: KaldiArguments) -> Reason | None:
    reason = why_composed(rows, window)
    if reason is not None:
        return reason
    n_fft, hop_length, win_length = call[:3]
    bins, samples = n_fft // 2 + 1, rows.shape[1] + n_fft
    reason = obstacle(rows.shape[0], samples, window.shape[0], bins, n_fft, hop_length, win_length, 0, "constant")
    if reason is not None or is_compiling() or type(basis) is FakeTensor:
        return reason
    load_operators()
    return None if launches.ops.kaldi.has_kernel(basis, n_fft) else Reason.N_FFT


def _compared(
    name: str, rows: Tensor, window: Tensor, basis: Tensor, call: KaldiArguments, result: Tensor
) -> tuple[str, bool]:
    """(what is wrong with the fused result, or nothing; whether there was anything to compare). Of a call whose
    comparison would need much memory, the first rows and samples, made once more."""
    some = max(1, parts.LIMIT // call.n_fft)  # frames
    samples = some * call.hop_length + call.win_length
    piece = rows[: max(1, some * call.hop_length // rows.shape[1]), :samples]
    if piece.shape != rows.shape:
        result = launches.ops.kaldi.run_kaldi(piece, window, basis, *call)
    scale = Scale("clamp", EPSILON) if call.log else Scale()
    judge, reference = partial(verification.judge_front_end, scale=scale), partial(_composed, call=call)
    return verification.judge_by(name, judge, result, reference, (piece, window, basis))


def _composed(rows: Tensor, window: Tensor, basis: Tensor, call: KaldiArguments) -> Tensor:
    from ..ops import composite_kaldi

    return composite_kaldi.kaldi(rows, window, basis, *call)
