"""Spectrograms and mel spectrograms as functions: mps-spectro's names, arguments and defaults, on the fused path.

One launch from waveform to (log-)mel where there are kernels, the same numbers from torch's own functions elsewhere.
Waveforms are floating point [..., time] (float64 is computed in float64, everything else in float32); results are
[..., features, frames], frame by frame in memory as torchaudio has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch

from . import compute, filterbanks
from .compute import FrontEnd, Scale, remembered

OUTPUT_SCALES = ("linear", "log", "db")
LOG_MODES = ("clamp", "add", "log1p")
PAD_MODES = ("constant", "reflect", "replicate", "circular")
SCOPES = ("batch", "item")
DB_AMIN = 1e-10


def amplitude_to_db(
    x: torch.Tensor,
    *,
    stype: str = "power",
    top_db: float | None = 80.0,
    amin: float = 1e-10,
    top_db_scope: str = "batch",
) -> torch.Tensor:
    """Decibels of x [..., bands, frames]: 10 log10(max(x, amin)), or 20 log10(...) where stype is "magnitude".

    top_db: nothing stays lower than this many dB below the loudest value, of the last three dimensions as torchaudio
    has it ("batch"), or of the last two ("item"). Raises ValueError for unknown modes and negative top_db.
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
    x: torch.Tensor,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: torch.Tensor | None = None,
    pad: int = 0,
    center: bool = True,
    pad_mode: str = "constant",
    power: float = 2.0,
    normalized: bool | str = False,
    n_mels: int = 128,
    f_min: float = 0.0,
    f_max: float | None = None,
    norm: str | None = None,
    mel_scale: str = "htk",
    output_scale: str = "db",
    log_amin: float = 1e-5,
    log_mode: str = "clamp",
    top_db: float | None = 80.0,
    window_fn: Callable[..., torch.Tensor] = torch.hann_window,
    use_mps_kernels: bool = True,
    top_db_scope: str = "batch",
) -> torch.Tensor:
    """[..., n_mels, frames] of x [..., time].

    n_fft, hop_length, win_length (None: n_fft), pad (zeros at both ends, before centring): samples; f_min, f_max (None:
    half the sample rate): Hz. window: [win_length], else window_fn(win_length). power: of the magnitude, any positive
    number. normalized: True or "frame_length" divides the spectrum by sqrt(n_fft), "window" by the root of the window's
    energy (which is what True means to torchaudio). output_scale "log": log(max(v, log_amin)), log(v + log_amin) or
    log1p(v / log_amin) by log_mode; "db": amplitude_to_db of magnitudes where power is 1, else of powers, with top_db.
    use_mps_kernels=False composes torch's functions everywhere. Raises ValueError for arguments that make no sense, and
    torch.stft's errors for signals that are too short.
    """
    f_max = sample_rate / 2 if f_max is None else f_max
    filterbanks.check_mel(n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate, norm, mel_scale)
    call = resolve(
        n_fft, hop_length, win_length, pad=pad, center=center, pad_mode=pad_mode, power=power, normalized=normalized,
        scale=resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope),
    )  # fmt: skip
    window = window_of(window, window_fn, call.win_length, x)
    basis = _mel_basis(n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate, norm, mel_scale, x.device, _dtype(x))
    return compute.compute(x, window, basis, call, use_mps_kernels, "mel_spectrogram")


def dynamic_spectrogram(
    x: torch.Tensor,
    *,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,
    pad_mode: str = "constant",
    power: float = 1.0,
    normalized: bool | str = False,
    keyshift: float = 0.0,
    speed: float = 1.0,
    target_n_freqs: int | None = None,
    magnitude_eps: float = 0.0,
    use_public_stft: bool = False,
    window_fn: Callable[..., torch.Tensor] = torch.hann_window,
    use_mps_kernels: bool = True,
) -> torch.Tensor:
    """[..., bins, frames] of x [..., time], for a pitch shifted by `keyshift` semitones: n_fft and win_length are times
    2^(keyshift / 12), hop_length times speed, all rounded. (As RMVPE and torchfcpe do it.)

    window: of the shifted win_length. magnitude_eps: under the root of power 1, else added to the power.
    target_n_freqs: bins that are kept, or filled up with zeros; then the result is also scaled by win_length over the
    shifted one. use_public_stft: through torch.stft, whatever stands there. For the rest see mel_spectrogram.
    """
    call = dynamic(
        n_fft, hop_length, win_length, keyshift, speed, center, pad_mode, power, normalized, magnitude_eps,
        target_n_freqs, Scale(),
    )  # fmt: skip
    window = window_of(window, window_fn, call.win_length, x)
    if use_public_stft:
        return _by_public_stft(x, window, None, call)
    return compute.compute(x, window, None, call, use_mps_kernels, "dynamic_spectrogram")


def dynamic_mel_spectrogram(
    x: torch.Tensor,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    center: bool = True,
    pad_mode: str = "constant",
    power: float = 1.0,
    normalized: bool | str = False,
    n_mels: int = 128,
    f_min: float = 0.0,
    f_max: float | None = None,
    norm: str | None = None,
    mel_scale: str = "htk",
    output_scale: str = "linear",
    log_amin: float = 1e-5,
    log_mode: str = "clamp",
    top_db: float | None = 80.0,
    keyshift: float = 0.0,
    speed: float = 1.0,
    mel_basis: torch.Tensor | None = None,
    magnitude_eps: float = 0.0,
    use_public_stft: bool = False,
    window_fn: Callable[..., torch.Tensor] = torch.hann_window,
    use_mps_kernels: bool = True,
    top_db_scope: str = "batch",
) -> torch.Tensor:
    """[..., n_mels, frames]: a filterbank over dynamic_spectrogram(target_n_freqs=n_fft // 2 + 1).

    mel_basis: [n_mels, n_fft // 2 + 1], instead of the one that the mel arguments describe.
    """
    scale = resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope)
    call = dynamic(
        n_fft, hop_length, win_length, keyshift, speed, center, pad_mode, power, normalized, magnitude_eps,
        n_fft // 2 + 1, scale,
    )  # fmt: skip
    if mel_basis is None:
        f_max = sample_rate / 2 if f_max is None else f_max
        filterbanks.check_mel(n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate, norm, mel_scale)
        mel_basis = _mel_basis(n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate, norm, mel_scale, x.device, _dtype(x))
    else:
        check_basis(mel_basis, n_fft)
    window = window_of(None, window_fn, call.win_length, x)
    if use_public_stft:
        return _by_public_stft(x, window, mel_basis, call)
    return compute.compute(x, window, mel_basis, call, use_mps_kernels, "dynamic_mel_spectrogram")


@remembered
def resolve(
    n_fft: int, hop_length: int, win_length: int | None, *, center: bool = True, pad_mode: str = "reflect",
    pad: int = 0, power: float = 2.0, normalized: bool | str = False, scale: Scale | None = None, eps: float = 0.0,
    gain: float = 1.0, width: int | None = None, dropped: int = 0,
) -> FrontEnd:  # fmt: skip
    """The call these arguments describe. Raises ValueError where they describe none."""
    win_length = int(win_length or n_fft)
    n_fft, hop_length, pad, power = int(n_fft), int(hop_length), int(pad), float(power)
    if n_fft < 1 or hop_length < 1 or pad < 0:
        raise ValueError(f"n_fft={n_fft}, hop_length={hop_length}, pad={pad}: expected positive sizes, pad from 0 on")
    if not 0 < win_length <= n_fft:
        raise ValueError(f"win_length={win_length}: expected 1 to n_fft={n_fft}")
    if pad_mode not in PAD_MODES:
        raise ValueError(f"pad_mode={pad_mode!r}: expected one of {', '.join(map(repr, PAD_MODES))}")
    if not (power > 0 and math.isfinite(power)):
        raise ValueError(f"power={power}: expected a positive number")
    if normalized not in (False, True, "frame_length", "window"):
        raise ValueError(f'normalized={normalized!r}: expected True, False, "frame_length" or "window"')
    if eps < 0:
        raise ValueError(f"magnitude_eps={eps}: expected 0 or a positive number")
    if normalized in (True, "frame_length"):
        gain = gain * n_fft ** (-power / 2)
    return FrontEnd(
        n_fft, hop_length, win_length, bool(center), pad_mode, pad, power, float(eps), gain, normalized == "window",
        width, dropped, scale or Scale(),
    )  # fmt: skip


@remembered
def resolve_scale(
    output_scale: str, log_mode: str, log_amin: float, power: float, top_db: float | None, top_db_scope: str = "batch"
) -> Scale:
    """The Scale of output_scale "linear", "log" or "db". Raises ValueError for everything else."""
    if output_scale not in OUTPUT_SCALES:
        raise ValueError(f'output_scale={output_scale!r}: expected "linear", "log" or "db"')
    if log_mode not in LOG_MODES:
        raise ValueError(f'log_mode={log_mode!r}: expected "clamp", "add" or "log1p"')
    if output_scale == "linear":
        return Scale()
    if output_scale == "log":
        if not log_amin > 0:
            raise ValueError(f"log_amin={log_amin}: expected a positive number")
        return Scale(log_mode, float(log_amin))
    check_top_db(top_db, top_db_scope)
    return decibels(20.0 if power == 1 else 10.0, top_db, top_db_scope)


def decibels(multiplier: float, top_db: float | None, scope: str = "batch", amin: float = DB_AMIN) -> Scale:
    return Scale("clamp", amin, multiplier / math.log(10), below=None if top_db is None else float(top_db), scope=scope)


def check_top_db(top_db: float | None, scope: str) -> None:
    if top_db is not None and not top_db >= 0:
        raise ValueError(f"top_db={top_db}: must be positive, or None")
    if scope not in SCOPES:
        raise ValueError(f'top_db_scope={scope!r}: expected "batch" or "item"')


def check_basis(basis: torch.Tensor, n_fft: int) -> None:
    """Raises ValueError unless it is a filterbank [bands, n_fft // 2 + 1]."""
    if basis.dim() != 2 or basis.shape[1] != n_fft // 2 + 1 or not basis.shape[0]:
        raise ValueError(
            f"the filterbank must be [bands, {n_fft // 2 + 1}] for n_fft={n_fft}, not {list(basis.shape)}"
            + (" (torchaudio's is the transpose)" if basis.dim() == 2 and basis.shape[0] == n_fft // 2 + 1 else "")
        )


def make_window(window_fn: Callable[..., torch.Tensor], win_length: int) -> torch.Tensor:
    """window_fn(win_length), on the CPU and in float64 where it can be told so, to be rounded and moved later."""
    try:
        return window_fn(win_length, dtype=torch.float64, device="cpu")
    except TypeError:
        return window_fn(win_length)


def shifted(n_fft: int, hop_length: int, win_length: int, keyshift: float, speed: float) -> tuple[int, int, int]:
    """n_fft, hop_length and win_length for a shift of `keyshift` semitones and a hop `speed` times as long."""
    if not speed > 0 or not math.isfinite(speed) or not math.isfinite(keyshift):
        raise ValueError(f"keyshift={keyshift}, speed={speed}: expected finite numbers, speed positive")
    factor = 2.0 ** (keyshift / 12)
    return (
        max(1, round(n_fft * factor)),
        max(1, round(hop_length * speed)),
        max(1, round(win_length * factor)),
    )


@remembered
def dynamic(
    n_fft, hop_length, win_length, keyshift, speed, center, pad_mode, power, normalized, eps, target, scale
) -> FrontEnd:
    """The call of dynamic_spectrogram."""
    base = int(win_length or n_fft)
    n_fft, hop_length, win_length = shifted(int(n_fft), int(hop_length), base, float(keyshift), float(speed))
    if target is not None and target < 1:
        raise ValueError(f"target_n_freqs={target}: expected at least one bin")
    gain = 1.0 if target is None or win_length == base else base / win_length
    return resolve(
        n_fft, hop_length, min(win_length, n_fft), center=center, pad_mode=pad_mode, power=power,
        normalized=normalized, scale=scale, eps=eps, gain=gain, width=target,
    )  # fmt: skip


def _by_public_stft(x: torch.Tensor, window: torch.Tensor, basis: torch.Tensor | None, call: FrontEnd) -> torch.Tensor:
    """front_end.compute through torch.stft as it stands, for comparisons."""
    from ..ops import composite_features

    window = window.to(device=x.device, dtype=_dtype(x))
    basis = None if basis is None else basis.to(device=x.device, dtype=window.dtype)
    if call.window_norm:
        window = window / window.square().sum().sqrt()
    batch = x.shape[:-1]
    rows = x.reshape(-1, x.shape[-1]).to(window.dtype)
    spectrum = torch.stft(rows, call.n_fft, call.hop_length, call.win_length, window, call.center, call.pad_mode,
                          return_complex=True)  # fmt: skip
    scale = call.scale
    width = call.n_fft // 2 + 1 if call.width is None else call.width
    values = composite_features.of_spectrum(
        spectrum, basis, width, call.dropped, call.power, call.eps, call.gain, scale.scale, scale.amin, scale.factor,
        scale.offset,
    )  # fmt: skip
    values = compute.finished(values, scale, batch[-1] if batch and scale.scope == "batch" else 1)
    return values.reshape(*batch, *values.shape[1:])


def _dtype(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def window_of(
    window: torch.Tensor | None, window_fn: Callable[..., torch.Tensor], win_length: int, x: torch.Tensor
) -> torch.Tensor:
    if window is None:
        if window_fn in KNOWN_WINDOWS:
            return _known_window(window_fn, win_length, x.device, _dtype(x))
        window = make_window(window_fn, win_length)
    if window.dim() != 1 or window.shape[0] != win_length:
        raise ValueError(f"the window must be [{win_length}], not {list(window.shape)}")
    return window


KNOWN_WINDOWS = (torch.hann_window, torch.hamming_window, torch.blackman_window, torch.bartlett_window)


def _once(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`function` with a cache. Compiled code breaks its graph here: modules, which hold their tensors, do not."""
    cached = lru_cache(maxsize=256)(function)

    def call(*args):
        if torch._C._len_torch_dispatch_stack():  # what a mode makes, fake tensors say, is nothing for calls without it
            return function(*args)
        return cached(*args)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]  # torch.compiler.disable() would import dynamo
    return call


@_once
def _known_window(window_fn, win_length: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():  # it may be saved for a backward pass
        return make_window(window_fn, win_length).to(dtype).to(device)


@_once
def _mel_basis(n_freqs, f_min, f_max, n_mels, sample_rate, norm, mel_scale, device, dtype) -> torch.Tensor:
    """melscale_fbanks, warned about and made once."""
    with torch.inference_mode(False), torch.no_grad():
        return filterbanks.melscale_fbanks(
            n_freqs=n_freqs, f_min=f_min, f_max=f_max, n_mels=n_mels, sample_rate=sample_rate, norm=norm,
            mel_scale=mel_scale, device=device, dtype=dtype,
        )  # fmt: skip
