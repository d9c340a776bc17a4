"""Mel spectrograms as modules, with mps-spectro's names, arguments and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from .. import compute, filterbanks, functional
from ..filterbanks import MelScale, Norm
from ..spec import LogMode, Normalized, OutputScale, PadMode, Scope, dynamic, resolve, resolve_scale
from .base import ExactBuffers, FrontEndModule

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    class _More(TypedDict, total=False):
        """Of CompatMelSpectrogramTransform; accepted by all."""

        pad: int
        normalized: Normalized
        eps: float


class MelSpectrogramTransform(FrontEndModule):
    """mel_spectrogram as a module, with its window and filterbank as buffers.

    Args:
        sample_rate: Hz.
        n_fft: size of the transform, samples.
        hop_length: samples from one frame to the next.
        win_length: samples of the window, at most n_fft. None: n_fft.
        n_mels: number of bands.
        f_min: lowest frequency, Hz.
        f_max: highest frequency, Hz. None: half the sample rate.
        center: pad both ends by n_fft // 2 samples, so that frame t is centred on sample t * hop_length.
        pad_mode: what center pads with: "constant" (zeros), "reflect", "replicate" or "circular".
        power: exponent of the magnitude: 1 for magnitudes, 2 for powers, or any other positive number.
        norm: None, or "slaney": each band is divided by half its width in Hz.
        mel_scale: "htk" or "slaney", see melscale_fbanks.
        output_scale: "linear", "log" (natural logarithm) or "db" (decibels).
        log_amin: smallest value v of "log", see log_mode.
        log_mode: "clamp": log(max(v, log_amin)). "add": log(v + log_amin). "log1p": log(1 + v / log_amin).
        top_db: with "db": no value is more than this many dB below the loudest. None: no such limit.
        window_fn: makes the window from its length, as torch.hann_window does.
        use_mps_kernels: False: torch's own functions on every device.
        top_db_scope: the loudest of the last batch dimension ("batch", as torchaudio) or of each waveform ("item").
        persistent: whether the buffers are in the state_dict.
        pad: zeros added to both ends of the waveform first, samples. Default: 0.
        normalized: as in mel_spectrogram. Default: False.
        eps: added to the power under the root if power is 1, else to |X|^power. Default: 0.

    Shape:
        Input [..., time], floating point. Output [..., n_mels, frames], float32 (float64 for float64).

    Raises:
        TypeError: an unknown argument, or (when called) an input that is no floating-point tensor.
        ValueError: the arguments describe no front end.
        RuntimeError: when called, the input is too short; the error is torch.stft's.

    Example:
        >>> mel = msp.MelSpectrogramTransform(sample_rate=16_000, n_fft=1024, hop_length=256, n_mels=80)
        >>> mel(torch.randn(2, 16_000)).shape
        torch.Size([2, 80, 63])
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
        pad_mode: PadMode = "constant",
        power: float = 2.0,
        norm: Norm | None = None,
        mel_scale: MelScale = "htk",
        output_scale: OutputScale = "db",
        log_amin: float = 1e-5,
        log_mode: LogMode = "clamp",
        top_db: float | None = 80.0,
        window_fn: Callable[..., torch.Tensor] = torch.hann_window,
        use_mps_kernels: bool = True,
        top_db_scope: Scope = "batch",
        persistent: bool = False,
        **more: Unpack[_More],
    ) -> None:
        unknown = set(more) - {"pad", "normalized", "eps"}
        if unknown:
            raise TypeError(f"{type(self).__name__} got unexpected keyword arguments {', '.join(sorted(unknown))}")
        scale = resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope)
        call = resolve(
            n_fft, hop_length, win_length, center=center, pad_mode=pad_mode, power=power, scale=scale, **more
        )
        basis = filterbanks.mel_basis(call.n_fft // 2 + 1, sample_rate, n_mels, f_min, f_max, norm, mel_scale)
        window = functional.make_window(window_fn, call.win_length)
        super().__init__(call, window, basis, use_mps_kernels, persistent)

    @classmethod
    def compat(cls, **kwargs: Any) -> CompatMelSpectrogramTransform:
        """The transform with torchaudio's arguments and defaults."""
        return CompatMelSpectrogramTransform(**kwargs)


class LogMelSpectrogramTransform(MelSpectrogramTransform):
    """MelSpectrogramTransform of magnitudes with output_scale="log": natural logarithm.

    Args:
        sample_rate: Hz.
        n_fft: size of the transform, samples.
        hop_length: samples from one frame to the next.
        win_length: samples of the window, at most n_fft. None: n_fft.
        n_mels: number of bands.
        f_min: lowest frequency, Hz.
        f_max: highest frequency, Hz. None: half the sample rate.
        center: pad both ends by n_fft // 2 samples, so that frame t is centred on sample t * hop_length.
        pad_mode: what center pads with: "constant" (zeros), "reflect", "replicate" or "circular".
        power: exponent of the magnitude: 1 for magnitudes, 2 for powers, or any other positive number.
        norm: None, or "slaney": each band is divided by half its width in Hz.
        mel_scale: "htk" or "slaney", see melscale_fbanks.
        log_amin: smallest value v of "log", see log_mode.
        log_mode: "clamp": log(max(v, log_amin)). "add": log(v + log_amin). "log1p": log(1 + v / log_amin).
        window_fn: makes the window from its length, as torch.hann_window does.
        use_mps_kernels: False: torch's own functions on every device.
        persistent: whether the buffers are in the state_dict.

    Shape:
        Input [..., time], floating point. Output [..., n_mels, frames], float32 (float64 for float64).

    Raises:
        TypeError: when called, the input is no floating-point tensor.
        ValueError: the arguments describe no front end.
        RuntimeError: when called, the input is too short; the error is torch.stft's.

    Example:
        >>> log_mel = msp.LogMelSpectrogramTransform(sample_rate=16_000, n_fft=1024, hop_length=256, n_mels=80)
        >>> log_mel(torch.randn(2, 16_000)).shape
        torch.Size([2, 80, 63])
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
        pad_mode: PadMode = "constant",
        power: float = 1.0,
        norm: Norm | None = None,
        mel_scale: MelScale = "htk",
        log_amin: float = 1e-5,
        log_mode: LogMode = "clamp",
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
    """torchaudio.transforms.MelSpectrogram: its arguments, defaults and numbers, and this package's output scales.

    Args:
        sample_rate: Hz.
        n_fft: size of the transform, samples.
        win_length: samples of the window, at most n_fft. None: n_fft.
        hop_length: samples from one frame to the next. None: n_fft // 2.
        f_min: lowest frequency, Hz.
        f_max: highest frequency, Hz. None: half the sample rate.
        pad: zeros added to both ends of the waveform first, samples.
        n_mels: number of bands.
        window_fn: makes the window from its length, as torch.hann_window does.
        power: exponent of the magnitude: 1 for magnitudes, 2 for powers, or any other positive number.
        normalized: True or "window": spectrum over the root of the window's energy. "frame_length": over sqrt(n_fft).
        center: pad both ends by n_fft // 2 samples, so that frame t is centred on sample t * hop_length.
        pad_mode: what center pads with: "constant" (zeros), "reflect", "replicate" or "circular".
        norm: None, or "slaney": each band is divided by half its width in Hz.
        mel_scale: "htk" or "slaney", see melscale_fbanks.
        output_scale: "linear", "log" (natural logarithm) or "db" (decibels).
        log_amin: smallest value v of "log", see log_mode.
        log_mode: "clamp": log(max(v, log_amin)). "add": log(v + log_amin). "log1p": log(1 + v / log_amin).
        top_db: with "db": no value is more than this many dB below the loudest. None: no such limit.
        use_mps_kernels: False: torch's own functions on every device.
        top_db_scope: the loudest of the last batch dimension ("batch", as torchaudio) or of each waveform ("item").
        persistent: whether the buffers are in the state_dict.

    Shape:
        Input [..., time], floating point. Output [..., n_mels, frames], float32 (float64 for float64).

    Raises:
        TypeError: when called, the input is no floating-point tensor.
        ValueError: the arguments describe no front end.
        RuntimeError: when called, the input is too short; the error is torch.stft's.

    Example:
        >>> mel = msp.CompatMelSpectrogramTransform(n_mels=64)
        >>> mel(torch.randn(2, 16_000)).shape
        torch.Size([2, 64, 81])
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
        normalized: Normalized = False,
        center: bool = True,
        pad_mode: PadMode = "reflect",
        norm: Norm | None = None,
        mel_scale: MelScale = "htk",
        output_scale: OutputScale = "linear",
        log_amin: float = 1e-5,
        log_mode: LogMode = "clamp",
        top_db: float | None = None,
        use_mps_kernels: bool = True,
        top_db_scope: Scope = "batch",
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
    """dynamic_mel_spectrogram as a module: pitch shift and speed are arguments of each call.

    Its filterbank is the buffer `basis`. Windows depend on the call and are cached. It cannot be scripted,
    because the size of the transform follows from an argument of forward().

    Args:
        sample_rate: Hz.
        n_fft: size of the transform before the shift, samples.
        hop_length: samples from one frame to the next, before speed.
        win_length: samples of the window before the shift. None: n_fft.
        n_mels: number of bands.
        f_min: lowest frequency, Hz.
        f_max: highest frequency, Hz. None: half the sample rate.
        center: pad both ends by half the shifted n_fft; a call may say otherwise.
        pad_mode: what center pads with: "constant" (zeros), "reflect", "replicate" or "circular".
        power: exponent of the magnitude: 1 for magnitudes, 2 for powers, or any other positive number.
        norm: None, or "slaney": each band is divided by half its width in Hz.
        mel_scale: "htk" or "slaney", see melscale_fbanks.
        output_scale: "linear", "log" (natural logarithm) or "db" (decibels).
        log_amin: smallest value v of "log", see log_mode.
        log_mode: "clamp": log(max(v, log_amin)). "add": log(v + log_amin). "log1p": log(1 + v / log_amin).
        top_db: with "db": no value is more than this many dB below the loudest. None: no such limit.
        mel_basis: floating point [n_mels, n_fft // 2 + 1]. None: the filterbank of the mel arguments.
        magnitude_eps: added to the power under the root if power is 1, else to |X|^power.
        normalized: True or "frame_length": spectrum over sqrt(n_fft). "window": over the root of the window's energy.
        use_public_stft: call torch.stft as it stands, for comparisons.
        window_fn: makes the window from its length, as torch.hann_window does.
        use_mps_kernels: False: torch's own functions on every device.
        top_db_scope: the loudest of the last batch dimension ("batch", as torchaudio) or of each waveform ("item").
        persistent: whether the buffers are in the state_dict.

    Shape:
        Input [..., time], floating point. Output [..., n_mels, frames], float32 (float64 for float64).

    Raises:
        TypeError: when called, the input is no floating-point tensor.
        ValueError: the arguments describe no front end, or mel_basis has another shape.
        RuntimeError: when called, the input is too short; the error is torch.stft's.
        NotImplementedError: torch.jit.script() of the module.

    Example:
        >>> mel = msp.DynamicMelSpectrogramTransform(sample_rate=16_000, n_fft=1024, hop_length=160)
        >>> mel(torch.randn(16_000), keyshift=-2.5, speed=1.2).shape
        torch.Size([128, 84])
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
        pad_mode: PadMode = "constant",
        power: float = 1.0,
        norm: Norm | None = None,
        mel_scale: MelScale = "htk",
        output_scale: OutputScale = "linear",
        log_amin: float = 1e-5,
        log_mode: LogMode = "clamp",
        top_db: float | None = 80.0,
        mel_basis: torch.Tensor | None = None,
        magnitude_eps: float = 0.0,
        normalized: Normalized = False,
        use_public_stft: bool = False,
        window_fn: Callable[..., torch.Tensor] = torch.hann_window,
        use_mps_kernels: bool = True,
        top_db_scope: Scope = "batch",
        persistent: bool = False,
    ) -> None:
        super().__init__()
        compute.load_operators()
        if mel_basis is None:
            mel_basis = filterbanks.mel_basis(n_fft // 2 + 1, sample_rate, n_mels, f_min, f_max, norm, mel_scale)
        else:
            functional.check_basis(mel_basis, n_fft)
        self.register_buffer("basis", mel_basis.detach().to(torch.float32), persistent=persistent)
        scale = resolve_scale(output_scale, log_mode, log_amin, power, top_db, top_db_scope)
        self._given = dict(
            n_fft=n_fft, hop_length=hop_length, win_length=win_length, pad_mode=pad_mode, power=power,
            normalized=normalized, eps=magnitude_eps, scale=scale,
        )  # fmt: skip
        resolve(**self._given)  # before any call, the arguments are checked
        self.center, self.n_fft = bool(center), n_fft
        self.use_public_stft, self.window_fn, self.use_mps_kernels = use_public_stft, window_fn, use_mps_kernels

    def forward(
        self, x: torch.Tensor, *, keyshift: float = 0.0, speed: float = 1.0, center: bool | None = None
    ) -> torch.Tensor:
        """[..., n_mels, frames] of x [..., time].

        Args:
            x: waveform, floating point [..., time].
            keyshift: pitch shift, semitones.
            speed: factor on hop_length.
            center: as the module's argument. None: the module's.
        """
        center = self.center if center is None else center
        width = self.n_fft // 2 + 1
        call = dynamic(keyshift=keyshift, speed=speed, center=center, width=width, **self._given)
        window = functional.window_of(None, self.window_fn, call.win_length, x)
        basis = self._own("basis")
        functional.check_basis(basis, self.n_fft)  # somebody may have put another in its place
        return functional.run_dynamic(
            x, window, basis, call, self.use_public_stft, self.use_mps_kernels, type(self).__name__
        )

    def __prepare_scriptable__(self):
        """What torch.jit.script() asks first."""
        raise NotImplementedError("DynamicMelSpectrogramTransform cannot be scripted: its FFT size is chosen per call")
