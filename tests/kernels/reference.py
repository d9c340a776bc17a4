"""Float64 references for the kernels, and the accuracy every kernel is held to."""

from __future__ import annotations

import torch

REL_L2 = 3e-7
MAX_ABS = 1e-6  # of the largest reference magnitude
GRADIENT_REL_L2 = 1e-6


def stft64(signal: torch.Tensor, n_fft: int, **options) -> torch.Tensor:
    window = options.pop("window").detach().cpu().double()
    return torch.functional.stft(signal.detach().cpu().double(), n_fft, window=window, return_complex=True, **options)


def istft64(spectrum: torch.Tensor, n_fft: int, **options) -> torch.Tensor:
    window = options.pop("window").detach().cpu().double()
    return torch._VF.istft(spectrum.detach().cpu().to(torch.complex128), n_fft, window=window, **options)


def assert_gradient_accurate(got: torch.Tensor, reference: torch.Tensor) -> None:
    assert got.shape == reference.shape
    relative = float((got.detach().cpu().to(reference.dtype) - reference).norm() / reference.norm())
    assert relative <= GRADIENT_REL_L2, f"relative L2 error {relative:.2e}"  # false for NaN as well


def assert_accurate(got: torch.Tensor, reference: torch.Tensor) -> None:
    got = got.detach().cpu().to(reference.dtype)
    assert got.shape == reference.shape
    difference = (got - reference).abs()
    assert not difference.isnan().any(), f"{int(difference.isnan().sum())} of {difference.numel()} values are NaN"
    relative = float(difference.norm() / reference.abs().norm())
    largest = float(difference.max() / reference.abs().max())
    assert relative <= REL_L2, f"relative L2 error {relative:.2e}"
    assert largest <= MAX_ABS, f"largest error {largest:.2e} of the largest value"
