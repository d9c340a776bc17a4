"""msp.stft and msp.istft: functions with mps-spectro's arguments, on the same kernels as the patched functions.

They differ from torch's where mps-spectro does: all options are keywords, a missing window is a periodic Hann window,
and istft accepts windows whose envelope is zero somewhere unless `torch_like`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.compiler import is_compiling

from .. import routing
from ..execution import runner
from .functional import make_window, window_of
from .spec import PadMode

_NOLA_MINIMUM = 1e-11  # torch.istft refuses an envelope below this


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
    arguments = (spec, n_fft, hop_length, win_length, window, center, normalized, onesided, length, False)
    if is_compiling():
        return torch.istft(*arguments)

    def original(*given) -> torch.Tensor:
        try:
            return torch._VF.istft(*given)
        except RuntimeError as error:
            if (torch_like and safety != "off") or "window overlap add min" not in str(error):
                raise
            return _forgiving(*given)

    reach = n_fft + hop_length * (spec.shape[-1] - 1) - (n_fft // 2 if center else 0)
    beyond = type(length) is int and length > reach
    if not allow_fused or (beyond and long_mode_strategy == "torch_fallback"):
        return original(*arguments)
    return runner.call_direct("istft", arguments, original)


def _forgiving(spec, n_fft, hop_length, win_length, window, center, normalized, onesided, length, _) -> torch.Tensor:
    """istft made of torch's own functions; samples that no window reaches are left undivided."""
    batch = spec if spec.dim() == 3 else spec.unsqueeze(0)
    scale = n_fft**0.5 if normalized else 1.0
    inverse = torch.fft.irfft if onesided else torch.fft.ifft
    left = (n_fft - win_length) // 2
    padded = torch.nn.functional.pad(window, (left, n_fft - win_length - left))
    frames = inverse(batch * scale, n_fft, dim=1).real * padded.unsqueeze(1)
    count = frames.shape[-1]
    total = n_fft + hop_length * (count - 1)

    def overlap_add(values: torch.Tensor) -> torch.Tensor:
        folded = torch.nn.functional.fold(values, (1, total), (1, n_fft), stride=(1, hop_length))
        return folded.reshape(values.shape[0], total)

    signal = overlap_add(frames)
    envelope = overlap_add(padded.square().reshape(1, -1, 1).expand(1, n_fft, count))
    signal = signal / torch.where(envelope > _NOLA_MINIMUM, envelope, 1.0)  # one division: its gradient is finite
    start = n_fft // 2 if center else 0
    end = total - start if length is None else start + length
    signal = torch.nn.functional.pad(signal[:, start:end], (0, max(0, end - total)))
    return signal if spec.dim() == 3 else signal.squeeze(0)


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
