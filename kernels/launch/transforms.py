"""The transforms: each function chooses between the kernels for smooth sizes and those for any size.

Arguments must be valid: routing has made sure of that. Nothing here knows about autograd or patching.
Windows are [win_length] float32 or complex64 on the signal's device, spectra complex64 without a conjugate bit.
"""

from __future__ import annotations

import torch

from ..plans.geometry import Geometry, IstftGeometry, StftGeometry
from ..plans.plan import supports_real
from . import any_size, smooth_size
from .dispatch import Ready, gapless, readable

__all__ = [
    "istft",
    "istft_adjoint",
    "istft_window_gradient",
    "ready_istft",
    "ready_istft_adjoint",
    "ready_stft",
    "ready_stft_adjoint",
    "stft",
    "stft_adjoint",
    "stft_window_gradient",
]


def stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> torch.Tensor:
    """Spectra [rows, bins, frames] complex64, frame by frame in memory, of signal [rows, samples] (any dtype but
    float64): complex signals and windows have two-sided spectra."""
    if signal.is_complex() or not _is_smooth(geometry, window):
        return any_size.stft(signal, window, geometry)
    signal, window = readable(signal), window.contiguous()
    return smooth_size.ready_stft(signal, window, geometry)(signal, window)


def ready_stft(signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry) -> Ready | None:
    """stft() as a function of signal and window alone, for tensors laid out as these, or None where there is none."""
    if signal.is_complex() or not _is_smooth(geometry, window) or readable(signal) is not signal:
        return None
    return smooth_size.ready_stft(signal, window, geometry)


def ready_istft(
    spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry, complex_output: bool = False
) -> Ready | None:
    """istft() likewise; its result is None where istft's is."""
    if complex_output or not _is_smooth(geometry, window):
        return None
    return smooth_size.ready_istft(spectrum, window, geometry)


def istft(
    spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry, complex_output: bool = False
) -> torch.Tensor | None:
    """Signals [rows, length] float32 (or complex64) of spectrum [rows, bins, frames] of any strides.

    None where the window's envelope comes too close to zero somewhere in the output, which torch.istft refuses.
    """
    if complex_output or not _is_smooth(geometry, window):
        return any_size.istft(spectrum, window, geometry, complex_output)
    return smooth_size.ready_istft(spectrum, window, geometry)(spectrum, window)


def stft_adjoint(
    gradient: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, complex_input: bool = False
) -> torch.Tensor:
    """[rows, samples]: the gradient of stft with respect to its signal, for `gradient` [rows, bins, frames] of any
    strides with respect to its result."""
    if complex_input or not _is_smooth(geometry, window):
        return any_size.stft_adjoint(gradient, window, geometry, complex_input)
    window = window.contiguous()
    return smooth_size.ready_stft_adjoint(gradient, window, geometry)(gradient, window)


def istft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> torch.Tensor | None:
    """[rows, bins, frames] complex64: the gradient of istft with respect to the spectrum, for `gradient`
    [rows, length] float32 (or complex64, as the output) with respect to its result. None as in istft."""
    if gradient.is_complex() or not _is_smooth(geometry, window):
        return any_size.istft_adjoint(gradient, window, geometry)
    gradient = gapless(gradient)
    return smooth_size.ready_istft_adjoint(gradient, window, geometry)(gradient, window)


def ready_stft_adjoint(
    gradient: torch.Tensor, window: torch.Tensor, geometry: StftGeometry, complex_input: bool = False
) -> Ready | None:
    """stft_adjoint() as a function of gradient and window alone, for tensors laid out as these, or None."""
    if complex_input or not _is_smooth(geometry, window):
        return None
    return smooth_size.ready_stft_adjoint(gradient, window, geometry)


def ready_istft_adjoint(gradient: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry) -> Ready | None:
    """istft_adjoint() likewise; its result is None where istft's is."""
    if gradient.is_complex() or not _is_smooth(geometry, window) or gradient.stride(1) != 1:
        return None
    return smooth_size.ready_istft_adjoint(gradient, window, geometry)


def stft_window_gradient(
    gradient: torch.Tensor, signal: torch.Tensor, window: torch.Tensor, geometry: StftGeometry
) -> torch.Tensor:
    """[win_length], as the window: the gradient of stft with respect to the window, whose values do not matter."""
    if _is_smooth(geometry, window) and not signal.is_complex():
        return smooth_size.stft_window_gradient(gradient, signal, geometry)
    return any_size.stft_window_gradient(gradient, signal, window, geometry)


def istft_window_gradient(
    gradient: torch.Tensor, spectrum: torch.Tensor, window: torch.Tensor, geometry: IstftGeometry
) -> torch.Tensor | None:
    """[win_length], as the window: the gradient of istft with respect to the window. None as in istft."""
    if _is_smooth(geometry, window) and not gradient.is_complex():
        return smooth_size.istft_window_gradient(gradient, spectrum, window, geometry)
    return any_size.istft_window_gradient(gradient, spectrum, window, geometry)


def _is_smooth(geometry: Geometry, window: torch.Tensor) -> bool:
    return not window.is_complex() and supports_real(geometry.n_fft)
