"""Mel spectrograms as modules, with mps-spectro's names, arguments and defaults."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.compiler import is_dynamo_compiling

from ...execution import call_cache
from .. import compute, filterbanks, functional
from ..compute import FrontEnd
from .base import ExactBuffers, FrontEndModule

_KEPT_MAX = 64  # calls of one module


class MelSpectrogramTransform(FrontEndModule):
    """functional.mel_spectrogram as a module: [..., time] to [..., n_mels, frames].

    Arguments as there. top_db_scope: "batch" (torchaudio) or "item". persistent: see FrontEndModule. Raises ValueError
    where the arguments make no front end.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        win_length: int | None = None,
        n_mels: int = 128,
        f_min: float = 0.0,
        f_max: float | None = None,
        center: bool = True,
        pad_mode: str = "constant",
        power: float = 2.0,
        norm: str | None = None,
        mel_scale: str = "htk",
        output_scale: str = "db",
        log_amin: float = 1e-5,
        log_mode: str = "clamp",
        top_db: float | None = 80.0,
        window_fn: Callable[..., torch.Tensor] = torch.hann_window,
        use_mps_kernels: bool = True,
        top_db_scope: str = "batch",
        persistent: bool = False,
        **more,
    ) -> None:
        unknown = set(more) - {"pad", "normalized", "eps", "deviation_eps"}
        if unknown:
            raise TypeError(f"{type(self).__name__} got unexpected keyword arguments {', '.join(sorted(unknown))}")
        self_scale = functional.resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope)
        call = functional.resolve(
            n_fft, hop_length, win_length, center=center, pad_mode=pad_mode, power=power, scale=self_scale, **more
        )
        basis = filterbanks.melscale_fbanks(
            n_freqs=call.n_fft // 2 + 1, f_min=f_min, f_max=sample_rate / 2 if f_max is None else f_max, n_mels=n_mels,
            sample_rate=sample_rate, norm=norm, mel_scale=mel_scale,
        )  # fmt: skip
        window = functional.make_window(window_fn, call.win_length)
        super().__init__(call, window, basis, use_mps_kernels, persistent)

    @classmethod
    def compat(cls, **kwargs) -> CompatMelSpectrogramTransform:
        """The transform with torchaudio's arguments and defaults."""
        return CompatMelSpectrogramTransform(**kwargs)


class LogMelSpectrogramTransform(MelSpectrogramTransform):
    """MelSpectrogramTransform of magnitudes with output_scale="log"."""

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        win_length: int | None = None,
        n_mels: int = 128,
        f_min: float = 0.0,
        f_max: float | None = None,
        center: bool = True,
        pad_mode: str = "constant",
        power: float = 1.0,
        norm: str | None = None,
        mel_scale: str = "htk",
        log_amin: float = 1e-5,
        log_mode: str = "clamp",
        window_fn: Callable[..., torch.Tensor] = torch.hann_window,
        use_mps_kernels: bool = True,
        persistent: bool = False,
    ) -> None:
        super().__init__(
            sample_rate=sample_rate, n_fft=n_fft, hop_length=hop_length, win_length=win_length, n_mels=n_mels,
            f_min=f_min, f_max=f_max, center=center, pad_mode=pad_mode, power=power, norm=norm, mel_scale=mel_scale,
            output_scale="log", log_amin=log_amin, log_mode=log_mode, top_db=None, window_fn=window_fn,
            use_mps_kernels=use_mps_kernels, persistent=persistent,
        )  # fmt: skip


class CompatMelSpectrogramTransform(MelSpectrogramTransform):
    """torchaudio.transforms.MelSpectrogram's arguments and numbers, with the output scales of this package.

    normalized=True means torchaudio's: divided by the root of the window's energy.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        pad: int = 0,
        n_mels: int = 128,
        window_fn: Callable[..., torch.Tensor] = torch.hann_window,
        power: float = 2.0,
        normalized: bool | str = False,
        center: bool = True,
        pad_mode: str = "reflect",
        norm: str | None = None,
        mel_scale: str = "htk",
        output_scale: str = "linear",
        log_amin: float = 1e-5,
        log_mode: str = "clamp",
        top_db: float | None = None,
        use_mps_kernels: bool = True,
        top_db_scope: str = "batch",
        persistent: bool = False,
    ) -> None:
        super().__init__(
            sample_rate=sample_rate, n_fft=n_fft, hop_length=n_fft // 2 if hop_length is None else hop_length,
            win_length=win_length, n_mels=n_mels, f_min=f_min, f_max=f_max, center=center, pad_mode=pad_mode,
            power=power, norm=norm, mel_scale=mel_scale, output_scale=output_scale, log_amin=log_amin,
            log_mode=log_mode, top_db=top_db, window_fn=window_fn, use_mps_kernels=use_mps_kernels,
            top_db_scope=top_db_scope, persistent=persistent, pad=pad,
            normalized="window" if normalized is True else normalized,
        )  # fmt: skip


class DynamicMelSpectrogramTransform(ExactBuffers):
    """functional.dynamic_mel_spectrogram as a module, with a pitch shift and speed per call.

    mel_basis: [n_mels, n_fft // 2 + 1], instead of the one that the arguments describe. Buffer: `basis`, not in the
    state_dict unless `persistent`. Windows depend on the call and are kept per size. Not scriptable: the FFT size
    follows from an argument of forward().
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        win_length: int | None = None,
        n_mels: int = 128,
        f_min: float = 0.0,
        f_max: float | None = None,
        center: bool = True,
        pad_mode: str = "constant",
        power: float = 1.0,
        norm: str | None = None,
        mel_scale: str = "htk",
        output_scale: str = "linear",
        log_amin: float = 1e-5,
        log_mode: str = "clamp",
        top_db: float | None = 80.0,
        mel_basis: torch.Tensor | None = None,
        magnitude_eps: float = 0.0,
        normalized: bool | str = False,
        use_public_stft: bool = False,
        window_fn: Callable[..., torch.Tensor] = torch.hann_window,
        use_mps_kernels: bool = True,
        top_db_scope: str = "batch",
        persistent: bool = False,
    ) -> None:
        super().__init__()
        compute.load_operators()
        if mel_basis is None:
            mel_basis = filterbanks.melscale_fbanks(
                n_freqs=n_fft // 2 + 1, f_min=f_min, f_max=sample_rate / 2 if f_max is None else f_max, n_mels=n_mels,
                sample_rate=sample_rate, norm=norm, mel_scale=mel_scale,
            )  # fmt: skip
        else:
            functional.check_basis(mel_basis, n_fft)
        self.register_buffer("basis", mel_basis.detach().to(torch.float32), persistent=persistent)
        self._arguments = dict(
            sample_rate=sample_rate, n_fft=n_fft, hop_length=hop_length, win_length=win_length, pad_mode=pad_mode,
            power=power, output_scale=output_scale, log_amin=log_amin, log_mode=log_mode, top_db=top_db,
            magnitude_eps=magnitude_eps, normalized=normalized, use_public_stft=use_public_stft, window_fn=window_fn,
            use_mps_kernels=use_mps_kernels, top_db_scope=top_db_scope,
        )  # fmt: skip
        self.center = bool(center)
        functional.resolve(n_fft, hop_length, win_length, pad_mode=pad_mode, power=power, normalized=normalized,
                           eps=magnitude_eps)  # fmt: skip
        scale = functional.resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope)
        self._sizes = n_fft, hop_length, win_length
        self._rest = pad_mode, power, normalized, magnitude_eps, n_fft // 2 + 1, scale
        self._keeps = use_mps_kernels and not use_public_stft and window_fn in functional.KNOWN_WINDOWS
        self._kept: dict[tuple, tuple[torch.Tensor, FrontEnd]] = {}

    def forward(
        self, x: torch.Tensor, *, keyshift: float = 0.0, speed: float = 1.0, center: bool | None = None
    ) -> torch.Tensor:
        """[..., n_mels, frames] of x [..., time]; keyshift in semitones; center: of this call (None: the module's)."""
        center, basis = self.center if center is None else center, self._own("basis")
        if is_dynamo_compiling() or not self._keeps:
            return self._whole(x, basis, keyshift, speed, center)
        key = keyshift, speed, center, x.dtype, x.device
        is_plain = call_cache.is_plain_eager()  # what a mode makes, fake tensors say, is nothing for calls without it
        kept = self._kept.get(key) if is_plain else None
        if kept is None:
            call = functional.dynamic(*self._sizes, keyshift, speed, center, *self._rest)
            kept = functional.window_of(None, self._arguments["window_fn"], call.win_length, x), call
            if is_plain:
                if len(self._kept) >= _KEPT_MAX:
                    self._kept.clear()
                self._kept[key] = kept
        functional.check_basis(basis, self._sizes[0])
        return compute.compute(x, kept[0], basis, kept[1], name=type(self).__name__)

    def _whole(self, x: torch.Tensor, basis: torch.Tensor, keyshift: float, speed: float, center: bool) -> torch.Tensor:
        return functional.dynamic_mel_spectrogram(
            x, keyshift=keyshift, speed=speed, center=center, mel_basis=basis, **self._arguments
        )

    def __getstate__(self):
        return {**self.__dict__, "_kept": {}}  # on devices that may not be where it is read

    def __prepare_scriptable__(self):
        """What torch.jit.script() asks first."""
        raise NotImplementedError("DynamicMelSpectrogramTransform cannot be scripted: its FFT size is chosen per call")
