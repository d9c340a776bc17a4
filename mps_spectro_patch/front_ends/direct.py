"""msp.stft and msp.istft: functions with mps-spectro's arguments, on the same kernels as the patched functions.

They differ from torch's where mps-spectro does: all options are keywords, a missing window is a periodic Hann window,
and istft accepts windows whose envelope is zero somewhere unless `torch_like`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.compiler import is_compiling

from .. import active, routing
from ..arguments import IstftArguments
from ..execution import launches, quarantine, runner
from ..kernels import inverse_envelope
from ..reasons import Call, Reason
from .functional import make_window, window_of
from .spec import PadMode


def stft(
    x: torch.Tensor,
    *,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool = True,
    pad_mode: PadMode = "reflect",
) -> torch.Tensor:
    """Short-time Fourier transform with mps-spectro's arguments: torch.stft, with a periodic Hann window by default.

    Runs on the kernels on Apple GPUs, and where enable() or accelerated() name the device; elsewhere it is torch.stft.

    Args:
        x: signal [time] or [batch, time], floating point or complex. Computed in single precision.
        n_fft: size of the transform, samples.
        hop_length: samples from one frame to the next. None: n_fft // 4.
        win_length: samples of the window, at most n_fft. None: n_fft.
        window: [win_length], converted to float32. None: a periodic Hann window.
        center: pad both ends by n_fft // 2 samples, so that frame t is centred on sample t * hop_length.
        normalized: divide by sqrt(n_fft).
        onesided: only the n_fft // 2 + 1 bins from 0 on.
        pad_mode: what center pads with: "reflect", "constant" (zeros), "replicate" or "circular".

    Returns:
        complex64 [bins, frames] or [batch, bins, frames], in torch.stft's memory order.

    Raises:
        TypeError: x is no floating-point or complex tensor.
        RuntimeError: what torch.stft refuses; the error is torch.stft's.

    Example:
        >>> msp.stft(torch.randn(2, 16_000), n_fft=1024).shape
        torch.Size([2, 513, 63])
    """
    x = _single(x)
    n_fft, hop_length, win_length = map(_size, (n_fft, hop_length, win_length))
    win_length = n_fft if win_length is None else win_length
    window = _window(window, win_length, x)
    arguments = (x, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided, True, None)
    if is_compiling():
        return torch.stft(*arguments[:-1])
    return runner.call_direct("stft", arguments, lambda *given: torch.functional.stft(*given[:-1]))


def istft(
    spec: torch.Tensor,
    *,
    n_fft: int | None = None,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool = True,
    length: int | None = None,
    padding: Literal["center", "same"] | None = None,
    torch_like: bool = False,
    safety: Literal["auto", "always", "off"] = "auto",
    allow_fused: bool = True,
    long_mode_strategy: Literal["custom", "torch_fallback"] = "custom",
    kernel_dtype: Literal["float32", "float16", "mixed"] = "float32",
    kernel_layout: Literal["auto", "native", "transposed"] = "auto",
) -> torch.Tensor:
    """Inverse of stft, with mps-spectro's arguments.

    Where the envelope of the windows is zero, samples are left undivided (as in mps-spectro), unless torch_like is set.

    Args:
        spec: complex [bins, frames] or [batch, bins, frames]. Computed as complex64.
        n_fft: size of the transform, samples. None: the even size that fits the bins.
        hop_length: samples from one frame to the next. None: n_fft // 4.
        win_length: samples of the window, at most n_fft. None: n_fft.
        window: [win_length], converted to float32. None: a periodic Hann window.
        center: the signal was padded by n_fft // 2 samples at both ends, which are cut off.
        normalized: the spectrum was divided by sqrt(n_fft).
        onesided: spec has the n_fft // 2 + 1 bins from 0 on, else all n_fft.
        length: samples of the result. None: as far as the frames reach.
        padding: None: as center says. "center": as center=True. "same", as in Vocos and its relatives: of what the
            windows cover, (win_length - hop_length) // 2 samples are cut off at both ends, so that frames * hop_length
            samples remain (one more if win_length - hop_length is odd).
        torch_like: raise torch.istft's error where the envelope is zero.
        safety: "off" cancels torch_like. "auto" and "always" are the same here, because the check costs nothing.
        allow_fused: False: torch's own function.
        long_mode_strategy: beyond the last frame, "custom" writes zeros; "torch_fallback" uses torch's own function.
        kernel_dtype: "float32", "float16" or "mixed". Without effect: frames are never in memory, sums are float32.
        kernel_layout: "auto", "native" or "transposed". Without effect, likewise.

    Returns:
        float32 [time] or [batch, time].

    Raises:
        ValueError: spec is no complex tensor of 2 or 3 dimensions, or an option has an unknown value.
        RuntimeError: what torch.istft refuses; the error is torch.istft's.

    Example:
        >>> x = torch.randn(2, 16_000)
        >>> y = msp.istft(msp.stft(x, n_fft=1024), length=16_000)
        >>> y.shape, torch.allclose(x, y, atol=1e-5)
        (torch.Size([2, 16000]), True)
    """
    for name, value, allowed in (
        ("padding", padding, (None, "center", "same")),
        ("safety", safety, ("auto", "always", "off")),
        ("long_mode_strategy", long_mode_strategy, ("custom", "torch_fallback")),
        ("kernel_dtype", kernel_dtype, ("float32", "float16", "mixed")),
        ("kernel_layout", kernel_layout, ("auto", "native", "transposed")),
    ):
        if value not in allowed:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}")
    if not isinstance(spec, torch.Tensor) or not spec.is_complex() or spec.dim() not in (2, 3):
        raise ValueError("spec must be a complex tensor, [bins, frames] or [batch, bins, frames]")
    spec = spec.to(torch.complex64)
    n_fft, hop_length, win_length, length = map(_size, (n_fft, hop_length, win_length, length))
    if n_fft is None:
        n_fft = 2 * (spec.shape[-2] - 1) if onesided else spec.shape[-2]
    hop_length = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    window = _window(window, win_length, spec)
    same, refuses = padding == "same", torch_like and safety != "off"
    center = True if padding == "center" else center
    arguments = (spec, n_fft, hop_length, win_length, window, center, normalized, onesided, length, False, same,
                 same or not refuses)  # fmt: skip

    reach = n_fft + hop_length * (spec.shape[-1] - 1)
    trim = n_fft // 2 if center else 0
    samples = reach - 2 * trim
    if same:
        trim, samples = routing.ends_of_same(n_fft, hop_length, win_length, spec.shape[-1])
    samples = samples if length is None else length
    call = IstftArguments(n_fft, hop_length, win_length, trim, normalized, onesided, True, samples, False)
    if same:
        _check_same(spec, window, call)
    if is_compiling():
        return _compiled(arguments, call)
    if same and refuses:
        reached = min(samples, reach - trim)
        if inverse_envelope(window, n_fft, hop_length, spec.shape[-1], trim, reached) is None:
            raise RuntimeError("istft: window overlap add min: 1")

    def original(spec: torch.Tensor, *given) -> torch.Tensor:
        if not same:
            try:
                return torch._VF.istft(spec, *given[:9])
            except RuntimeError as error:
                if refuses or "window overlap add min" not in str(error):
                    raise
        length = given[7]  # of a part of the spectrum it is another
        return _composed(spec, window, call if length is None else call._replace(length=length))

    beyond = type(length) is int and trim + length > reach
    if not allow_fused or (beyond and long_mode_strategy == "torch_fallback"):
        return original(*arguments)
    return runner.call_direct("istft", arguments, original)


def _composed(spec: torch.Tensor, window: torch.Tensor, call: IstftArguments) -> torch.Tensor:
    """istft made of torch's own functions; samples that no window reaches are left undivided."""
    from ..ops import composite

    rows = spec if spec.dim() == 3 else spec.unsqueeze(0)
    signal = composite.istft(rows, window, *call)
    return signal if spec.dim() == 3 else signal.squeeze(0)


def _compiled(arguments: tuple, call: IstftArguments) -> torch.Tensor:
    spec, window, same = arguments[0], arguments[4], arguments[10]
    options = active.process
    decision: Call | Reason = Reason.DEVICE
    if launches.ops is not None and not quarantine.plans and not routing.is_exporting():
        devices = ("mps",) if options is None else ("mps", *options.device_types)
        decision = routing.decide_compiled("istft", devices, arguments)
    if isinstance(decision, Call):
        return launches.launch_compiled("istft", spec, window, decision)
    return _composed(spec, window, call) if same else torch.istft(*arguments[:10])


def _check_same(spec: torch.Tensor, window: torch.Tensor, call: IstftArguments) -> None:
    """What torch.istft refuses, for "same" padding."""
    sizes = call.n_fft, call.hop_length, call.win_length
    if any(type(size) is not int for size in sizes) or not 0 < call.hop_length <= call.win_length <= call.n_fft:
        n_fft, hop_length, win_length = sizes
        raise RuntimeError(f"istft: expected 0 < {hop_length=} <= {win_length=} <= {n_fft=}")
    bins = call.n_fft // 2 + 1 if call.onesided else call.n_fft
    if spec.shape[-2] != bins or not spec.numel():
        raise RuntimeError(f"istft: expected {bins} bins and at least one frame, got {list(spec.shape)}")
    if window.shape != (call.win_length,):
        raise RuntimeError(f"istft: expected a window of {call.win_length} samples, got {list(window.shape)}")
    if type(call.length) is not int or call.length < 1:
        raise RuntimeError(f"istft: expected a length of at least one sample, got {call.length}")


def _size(size):
    return size if is_compiling() else routing.plain_size(size)


def _single(x: torch.Tensor) -> torch.Tensor:
    if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
        raise TypeError(f"the waveform must be a floating-point tensor, not {getattr(x, 'dtype', type(x).__name__)}")
    return x.to(torch.complex64) if x.is_complex() else x.to(torch.float32)


def _window(window: torch.Tensor | None, win_length: int, x: torch.Tensor) -> torch.Tensor:
    if window is not None:
        return window.to(device=x.device, dtype=torch.float32)
    if is_compiling():
        return make_window(torch.hann_window, win_length).float().to(x.device)
    return window_of(None, torch.hann_window, win_length, x)  # cached, so that istft finds its envelope in the cache
