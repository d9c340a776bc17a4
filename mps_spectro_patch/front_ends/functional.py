"""Spectrograms and mel spectrograms as functions, with mps-spectro's names, arguments and defaults.

Where there are kernels, one launch goes from the waveform to (log-)mel; elsewhere torch's functions give the same
numbers. Results are laid out frame by frame in memory, as torchaudio's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from . import compute, filterbanks
from .filterbanks import MelScale, Norm
from .spec import (
    FrontEnd,
    LogMode,
    Normalized,
    OutputScale,
    PadMode,
    Scope,
    check_top_db,
    dynamic,
    resolve,
    resolve_scale,
)


def amplitude_to_db(
    x: Tensor,
    *,
    stype: Literal["power", "magnitude"] = "power",
    top_db: float | None = 80.0,
    amin: float = 1e-10,
    top_db_scope: Scope = "batch",
) -> Tensor:
    """Decibels: 10 log10(max(x, amin)) of powers, 20 log10(max(x, amin)) of magnitudes.

    The formula is that of torchaudio.functional.amplitude_to_DB, relative to 1.

    Args:
        x: powers or magnitudes, floating point [..., bands, frames].
        stype: "power" or "magnitude": what x is.
        top_db: no value is more than this many dB below the loudest. None: no such limit.
        amin: smallest value before the logarithm.
        top_db_scope: the loudest of the last three dimensions ("batch", as torchaudio) or the last two ("item").

    Returns:
        Tensor with the shape and dtype of x, dB.

    Raises:
        ValueError: unknown stype or top_db_scope, negative top_db, or amin that is not positive.

    Example:
        >>> msp.amplitude_to_db(torch.tensor([[1.0, 0.1], [0.01, 0.0]]), top_db=40.0)
        tensor([[  0., -10.],
                [-20., -40.]])
    """
    if stype not in ("power", "magnitude"):
        raise ValueError(f'stype={stype!r}: expected "power" or "magnitude"')
    check_top_db(top_db, top_db_scope)
    if not amin > 0:
        raise ValueError(f"amin={amin}: expected a positive number")
    db = (10.0 if stype == "power" else 20.0) * torch.log10(torch.clamp(x, min=float(amin)))
    if top_db is None or not db.numel():
        return db
    dims = tuple(range(-min(db.dim(), 3 if top_db_scope == "batch" else 2), 0))
    return torch.maximum(db, db.amax(dims, keepdim=True) - float(top_db))


def mel_spectrogram(
    x: Tensor,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: Tensor | None = None,
    pad: int = 0,
    center: bool = True,
    pad_mode: PadMode = "constant",
    power: float = 2.0,
    normalized: Normalized = False,
    n_mels: int = 128,
    f_min: float = 0.0,
    f_max: float | None = None,
    norm: Norm | None = None,
    mel_scale: MelScale = "htk",
    output_scale: OutputScale = "db",
    log_amin: float = 1e-5,
    log_mode: LogMode = "clamp",
    top_db: float | None = 80.0,
    window_fn: Callable[..., Tensor] = torch.hann_window,
    use_mps_kernels: bool = True,
    top_db_scope: Scope = "batch",
) -> Tensor:
    """Mel spectrogram, linear, logarithmic or in decibels: scale(filterbank @ |stft(x)|^power).

    Decibels are those of amplitude_to_db: of magnitudes if power is 1, else of powers.

    Args:
        x: waveform [..., time], floating point. float64 is computed in float64, all others in float32.
        sample_rate: Hz.
        n_fft: size of the transform, samples.
        hop_length: samples from one frame to the next.
        win_length: samples of the window, at most n_fft. None: n_fft.
        window: floating point [win_length]. None: window_fn(win_length).
        pad: zeros added to both ends of the waveform first, samples.
        center: pad both ends by n_fft // 2 samples, so that frame t is centred on sample t * hop_length.
        pad_mode: what center pads with: "constant" (zeros), "reflect", "replicate" or "circular".
        power: exponent of the magnitude: 1 for magnitudes, 2 for powers, or any other positive number.
        normalized: True or "frame_length": spectrum over sqrt(n_fft). "window": over the root of the window's energy.
        n_mels: number of bands.
        f_min: lowest frequency, Hz.
        f_max: highest frequency, Hz. None: half the sample rate.
        norm: None, or "slaney": each band is divided by half its width in Hz.
        mel_scale: "htk" or "slaney", see melscale_fbanks.
        output_scale: "linear", "log" (natural logarithm) or "db" (decibels).
        log_amin: smallest value v of "log", see log_mode.
        log_mode: "clamp": log(max(v, log_amin)). "add": log(v + log_amin). "log1p": log(1 + v / log_amin).
        top_db: with "db": no value is more than this many dB below the loudest. None: no such limit.
        window_fn: makes the window from its length, as torch.hann_window does.
        use_mps_kernels: False: torch's own functions on every device.
        top_db_scope: the loudest of the last batch dimension ("batch", as torchaudio) or of each waveform ("item").

    Returns:
        [..., n_mels, frames], float32 (float64 for float64).

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: the arguments describe no front end, or x has no dimension.
        RuntimeError: x is too short for n_fft or for its padding; the error is torch.stft's.

    Example:
        >>> x = torch.randn(2, 16_000)
        >>> msp.mel_spectrogram(x, sample_rate=16_000, n_fft=1024, hop_length=256, n_mels=80).shape
        torch.Size([2, 80, 63])
    """
    bands = n_fft // 2 + 1, sample_rate, n_mels, f_min, f_max, norm, mel_scale
    basis = _mel_basis(bands, x.device, compute.precision(x))
    call = resolve(
        n_fft, hop_length, win_length, pad=pad, center=center, pad_mode=pad_mode, power=power, normalized=normalized,
        scale=resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope),
    )  # fmt: skip
    window = window_of(window, window_fn, call.win_length, x)
    return compute.compute(x, window, basis, call, use_mps_kernels, "mel_spectrogram")


def dynamic_spectrogram(
    x: Tensor,
    *,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: PadMode = "constant",
    power: float = 1.0,
    normalized: Normalized = False,
    keyshift: float = 0.0,
    speed: float = 1.0,
    target_n_freqs: int | None = None,
    magnitude_eps: float = 0.0,
    use_public_stft: bool = False,
    window_fn: Callable[..., Tensor] = torch.hann_window,
    use_mps_kernels: bool = True,
    magnitude_floor: float = 0.0,
) -> Tensor:
    """Spectrogram of a pitch shifted by some semitones and a speed changed by a factor, by other sizes of frames.

    n_fft and win_length are multiplied by 2^(keyshift / 12) and hop_length by speed; all are rounded. With
    target_n_freqs the result is also multiplied by win_length over the shifted win_length. The formulas are those of
    MelSpectrogram.forward in RMVPE (rmvpe.py) and of torchfcpe's mel_extractor.

    Args:
        x: waveform [..., time], floating point. float64 is computed in float64, all others in float32.
        n_fft: size of the transform before the shift, samples.
        hop_length: samples from one frame to the next, before speed.
        win_length: samples of the window before the shift. None: n_fft.
        window: floating point, as long as the shifted win_length. None: made by window_fn.
        center: pad both ends by half the shifted n_fft.
        pad_mode: what center pads with: "constant" (zeros), "reflect", "replicate" or "circular".
        power: exponent of the magnitude: 1 for magnitudes, 2 for powers, or any other positive number.
        normalized: True or "frame_length": spectrum over sqrt(n_fft). "window": over the root of the window's energy.
        keyshift: pitch shift, semitones.
        speed: factor on hop_length.
        target_n_freqs: number of bins: the rest is cut off or filled with zeros. None: all bins, and no scaling.
        magnitude_eps: added to the power under the root if power is 1, else to |X|^power.
        use_public_stft: call torch.stft as it stands, for comparisons.
        window_fn: makes the window from its length, as torch.hann_window does.
        use_mps_kernels: False: torch's own functions on every device.
        magnitude_floor: least value of |X|^2, before the power is taken; gradients are zero below, as
            those of torch.clamp. Only without magnitude_eps.

    Returns:
        [..., bins, frames], float32 (float64 for float64), frame by frame in memory: its transpose is contiguous.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: the arguments describe no front end, or x has no dimension.
        RuntimeError: x is too short for n_fft or for its padding; the error is torch.stft's.

    Example:
        >>> x = torch.randn(16_000)
        >>> msp.dynamic_spectrogram(x, n_fft=1024, hop_length=160, keyshift=3, target_n_freqs=513).shape
        torch.Size([513, 101])
        >>> float(msp.dynamic_spectrogram(0 * x, n_fft=1024, hop_length=160, magnitude_floor=0.25).max())
        0.5
    """
    call = dynamic(
        n_fft, hop_length, win_length, keyshift, speed, center=center, pad_mode=pad_mode, power=power,
        normalized=normalized, eps=magnitude_eps, floor=magnitude_floor, width=target_n_freqs,
    )  # fmt: skip
    window = window_of(window, window_fn, call.win_length, x)
    return run_dynamic(x, window, None, call, use_public_stft, use_mps_kernels, "dynamic_spectrogram")


def dynamic_mel_spectrogram(
    x: Tensor,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    center: bool = True,
    pad_mode: PadMode = "constant",
    power: float = 1.0,
    normalized: Normalized = False,
    n_mels: int = 128,
    f_min: float = 0.0,
    f_max: float | None = None,
    norm: Norm | None = None,
    mel_scale: MelScale = "htk",
    output_scale: OutputScale = "linear",
    log_amin: float = 1e-5,
    log_mode: LogMode = "clamp",
    top_db: float | None = 80.0,
    keyshift: float = 0.0,
    speed: float = 1.0,
    mel_basis: Tensor | None = None,
    magnitude_eps: float = 0.0,
    use_public_stft: bool = False,
    window_fn: Callable[..., Tensor] = torch.hann_window,
    use_mps_kernels: bool = True,
    top_db_scope: Scope = "batch",
) -> Tensor:
    """Mel spectrogram of a shifted pitch: a filterbank over the n_fft // 2 + 1 bins of dynamic_spectrogram.

    Args:
        x: waveform [..., time], floating point. float64 is computed in float64, all others in float32.
        sample_rate: Hz.
        n_fft: size of the transform before the shift, samples.
        hop_length: samples from one frame to the next, before speed.
        win_length: samples of the window before the shift. None: n_fft.
        center: pad both ends by half the shifted n_fft.
        pad_mode: what center pads with: "constant" (zeros), "reflect", "replicate" or "circular".
        power: exponent of the magnitude: 1 for magnitudes, 2 for powers, or any other positive number.
        normalized: True or "frame_length": spectrum over sqrt(n_fft). "window": over the root of the window's energy.
        n_mels: number of bands.
        f_min: lowest frequency, Hz.
        f_max: highest frequency, Hz. None: half the sample rate.
        norm: None, or "slaney": each band is divided by half its width in Hz.
        mel_scale: "htk" or "slaney", see melscale_fbanks.
        output_scale: "linear", "log" (natural logarithm) or "db" (decibels).
        log_amin: smallest value v of "log", see log_mode.
        log_mode: "clamp": log(max(v, log_amin)). "add": log(v + log_amin). "log1p": log(1 + v / log_amin).
        top_db: with "db": no value is more than this many dB below the loudest. None: no such limit.
        keyshift: pitch shift, semitones.
        speed: factor on hop_length.
        mel_basis: floating point [n_mels, n_fft // 2 + 1]. None: the filterbank of the mel arguments.
        magnitude_eps: added to the power under the root if power is 1, else to |X|^power.
        use_public_stft: call torch.stft as it stands, for comparisons.
        window_fn: makes the window from its length, as torch.hann_window does.
        use_mps_kernels: False: torch's own functions on every device.
        top_db_scope: the loudest of the last batch dimension ("batch", as torchaudio) or of each waveform ("item").

    Returns:
        [..., n_mels, frames], float32 (float64 for float64).

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: the arguments describe no front end, mel_basis has another shape, or x has no dimension.
        RuntimeError: x is too short for n_fft or for its padding; the error is torch.stft's.

    Example:
        >>> x = torch.randn(16_000)
        >>> msp.dynamic_mel_spectrogram(x, sample_rate=16_000, n_fft=1024, hop_length=160, keyshift=-2.5).shape
        torch.Size([128, 101])
    """
    scale = resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope)
    call = dynamic(
        n_fft, hop_length, win_length, keyshift, speed, center=center, pad_mode=pad_mode, power=power,
        normalized=normalized, eps=magnitude_eps, width=n_fft // 2 + 1, scale=scale,
    )  # fmt: skip
    if mel_basis is None:
        bands = n_fft // 2 + 1, sample_rate, n_mels, f_min, f_max, norm, mel_scale
        mel_basis = _mel_basis(bands, x.device, compute.precision(x))
    else:
        check_basis(mel_basis, n_fft)
    window = window_of(None, window_fn, call.win_length, x)
    return run_dynamic(x, window, mel_basis, call, use_public_stft, use_mps_kernels, "dynamic_mel_spectrogram")


def run_dynamic(
    x: Tensor, window: Tensor, basis: Tensor | None, call: FrontEnd, use_public_stft: bool, use_kernels: bool, name: str
) -> Tensor:
    """The last step of the two functions above and of DynamicMelSpectrogramTransform. name: for compute()."""
    if use_public_stft:
        return _by_public_stft(x, window, basis, call)
    return compute.compute(x, window, basis, call, use_kernels, name)


def check_basis(basis: Tensor, n_fft: int) -> None:
    """Raises ValueError unless it is a filterbank [bands, n_fft // 2 + 1]."""
    if basis.dim() != 2 or basis.shape[1] != n_fft // 2 + 1 or not basis.shape[0]:
        raise ValueError(
            f"the filterbank must be [bands, {n_fft // 2 + 1}] for n_fft={n_fft}, not {list(basis.shape)}"
            + (" (torchaudio's is the transpose)" if basis.dim() == 2 and basis.shape[0] == n_fft // 2 + 1 else "")
        )


def make_window(window_fn: Callable[..., Tensor], win_length: int) -> Tensor:
    """window_fn(win_length), in float64 on the CPU if it accepts dtype and device; to be rounded and moved later."""
    try:
        return window_fn(win_length, dtype=torch.float64, device="cpu")
    except TypeError:
        return window_fn(win_length)


def _by_public_stft(x: Tensor, window: Tensor, basis: Tensor | None, call: FrontEnd) -> Tensor:
    """compute.compute through torch.stft as it stands, for comparisons."""
    from ..ops import composite_features

    window = window.to(device=x.device, dtype=compute.precision(x))
    basis = None if basis is None else basis.to(device=x.device, dtype=window.dtype)
    if call.window_norm:
        window = window / window.square().sum().sqrt()
    batch = x.shape[:-1]
    rows = x.reshape(-1, x.shape[-1]).to(window.dtype)
    spectrum = torch.stft(rows, call.n_fft, call.hop_length, call.win_length, window, call.center, call.pad_mode,
                          return_complex=True)  # fmt: skip
    arguments = call.arguments(None if basis is None else basis.shape[0], 0, call.pad_mode)
    values = composite_features.of_spectrum(spectrum, basis, arguments)
    rows_per_item = batch[-1] if batch and call.scale.scope == "batch" else 1
    values = compute.finished(values, rows_per_item, *call.scale.finishing())
    return values.reshape(*batch, *values.shape[1:])


def window_of(window: Tensor | None, window_fn: Callable[..., Tensor], win_length: int, x: Tensor) -> Tensor:
    if window is None:
        if window_fn in KNOWN_WINDOWS:
            return _known_window(window_fn, win_length, x.device, compute.precision(x))
        window = make_window(window_fn, win_length)
    if window.dim() != 1 or window.shape[0] != win_length:
        raise ValueError(f"the window must be [{win_length}], not {list(window.shape)}")
    return window


KNOWN_WINDOWS = (torch.hann_window, torch.hamming_window, torch.blackman_window, torch.bartlett_window)


def _once(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` with a cache. torch.compile breaks the graph here; modules hold their tensors and do not call it."""
    cached = lru_cache(maxsize=256)(function)

    def call(*args):
        if torch._C._len_torch_dispatch_stack():  # a mode's tensors, fake ones for example, are of no use outside of it
            return function(*args)
        return cached(*args)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]  # torch.compiler.disable() would import dynamo
    return call


@_once
def _known_window(window_fn, win_length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():  # a backward pass may need to save it
        return make_window(window_fn, win_length).to(dtype).to(device)


@_once
def _mel_basis(bands: tuple, device: torch.device, dtype: torch.dtype) -> Tensor:
    """filterbanks.mel_basis(*bands), made once: empty bands are warned about once."""
    with torch.inference_mode(False), torch.no_grad():
        return filterbanks.mel_basis(*bands, device, dtype)
