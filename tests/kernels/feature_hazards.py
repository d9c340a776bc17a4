"""The operations of the feature kernels and of the STFT losses for test_hazards.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from mps_spectro_patch.kernels.launch import feature_passes, features, kaldi, stft_loss
from mps_spectro_patch.kernels.tables.filterbank import Bands


def _basis(bins: int) -> Bands:
    """Overlapping triangles of four bins."""
    width = max(1, bins // 2)
    basis = torch.zeros(width, bins)
    for band in range(width):
        for k in range(2 * band, min(2 * band + 4, bins)):
            basis[band, k] = 0.2 + 0.1 * (k - 2 * band)
    return Bands(basis)


def _wanted(case: Any, banded: bool, used: int | None = None) -> tuple[Any, Bands | None]:
    bands = None
    if banded:
        basis = _basis(case.forward.bins).basis
        bands = Bands(basis if used is None else torch.where(torch.arange(basis.shape[1]) < used, basis, 0.0))
    width = used or case.forward.bins if bands is None else bands.count
    return features.Features(width, scale="add", amin=0.5, factor=10.0), bands


def _forward(case: Any, banded: bool, used: int | None = None) -> torch.Tensor:
    return features.features(case.signal, case.window, case.forward, *_wanted(case, banded, used))


def _contiguous(case: Any, banded: bool) -> torch.Tensor:
    wanted, bands = _wanted(case, banded)
    return features.features(case.signal, case.window, case.forward, replace(wanted, contiguous=True), bands)


def _floored(case: Any) -> torch.Tensor:
    wanted = features.Features(case.forward.bins, power=1.0, floor=0.1 * case.forward.n_fft)
    return features.features(case.signal, case.window, case.forward, wanted, None)


def _gradient(case: Any, banded: bool, floor: float = 0.0) -> torch.Tensor:
    wanted, bands = _wanted(case, banded)
    wanted = replace(wanted, floor=floor)
    generator = torch.Generator().manual_seed(3)
    shape = case.forward.rows, wanted.width, case.forward.frames
    gradient = torch.randn(shape, generator=generator).to(case.signal.device)
    return features.features_gradient(gradient, case.signal, case.window, case.forward, wanted, bands)


def _limited(case: Any) -> torch.Tensor:
    wanted, bands = _wanted(case, True)
    return features.limited_features(case.signal, case.window, case.forward, wanted, bands, 1, 20.0)


def _standardised(case: Any) -> torch.Tensor:
    values = case.spectrum.real.contiguous().clone()
    feature_passes.standardise(values, 1e-5)
    return values


def _loss(case: Any, gradient: bool, per_row: bool = False) -> torch.Tensor:
    """The loss and its terms, or the gradient of all of them."""
    if not stft_loss.supports_stft_loss(case.forward.n_fft):
        return torch.zeros(1)
    wanted = stft_loss.Terms(1.0, 0.5, 2.0, 1e-8, squared=per_row, per_row=per_row)
    given = case.signal, case.signal.flip(1), case.window, case.forward, wanted
    loss, terms = stft_loss.stft_loss(*given)
    if not gradient:
        return torch.cat([loss.reshape(1), terms])
    return stft_loss.stft_loss_gradient(loss * 0 + 1, terms * 0 + 1, terms, *given)


def _mean_of_losses(case: Any) -> torch.Tensor:
    """The mean of two losses, their terms, a copy of the target and the gradient, which two launches add up."""
    if not stft_loss.supports_stft_loss(case.forward.n_fft):
        return torch.zeros(1)
    kinds = [stft_loss.Terms(1.0, 0.5, 2.0, 1e-8, squared=per_row, per_row=per_row) for per_row in (False, True)]
    calls, windows = [(case.forward, wanted) for wanted in kinds], [case.window, case.window]
    signals = case.signal.contiguous(), case.signal.flip(1)
    loss, terms, copy = stft_loss.ready_mean(*signals, windows, calls, copies=True)(*signals, windows)
    gradient = stft_loss.ready_mean_gradient(*signals, windows, calls)
    given = loss.reshape(1) * 0 + 1, terms, signals[0], copy, windows
    return torch.cat([loss.reshape(1), terms, copy.flatten(), gradient(*given).flatten()])


def _kaldi(case: Any, energy: str, **more: Any) -> torch.Tensor:
    """Frames a little shorter than the transform."""
    n_fft = case.forward.n_fft
    bands, length = _basis(case.forward.bins), max(2, n_fft - n_fft // 5)
    if not kaldi.supports_kaldi(n_fft, bands):
        return torch.zeros(1)
    given = dict(snip_edges=False, remove_dc=True, preemphasis=0.9, power=2.0, log=True, amin=1e-7, energy=energy,
                 energy_floor=-1e30, energy_last=False, subtract_mean=False)  # fmt: skip
    wanted = kaldi.Kaldi(n_fft, case.forward.hop_length, length, **given | more)
    return kaldi.kaldi(case.signal, case.window[:length], wanted, bands)


OPERATIONS: dict[str, Any] = {
    "spectrogram": lambda case: _forward(case, False),
    "bands": lambda case: _forward(case, True),
    "few bins": lambda case: _forward(case, False, case.forward.bins // 3),
    "few bands": lambda case: _forward(case, True, case.forward.bins // 3),
    "spectrogram_gradient": lambda case: _gradient(case, False),
    "contiguous": lambda case: _contiguous(case, False),
    "contiguous bands": lambda case: _contiguous(case, True),
    "floored": _floored,
    "floored_gradient": lambda case: _gradient(case, False, 0.1 * case.forward.n_fft),
    "bands_gradient": lambda case: _gradient(case, True),
    "loss": lambda case: _loss(case, False),
    "loss per row": lambda case: _loss(case, False, True),
    "loss_gradient": lambda case: _loss(case, True),
    "loss_gradient per row": lambda case: _loss(case, True, True),
    "mean of losses": _mean_of_losses,
    "kaldi": lambda case: _kaldi(case, "raw"),
    "kaldi, windowed": lambda case: _kaldi(case, "windowed", energy_last=True, snip_edges=True, power=1.0, log=False),
    "kaldi, no energy": lambda case: _kaldi(case, "", remove_dc=False, subtract_mean=True),
    "limited": _limited,
    "decibels": lambda case: feature_passes.decibels(case.spectrum.abs().contiguous(), 2, 1e-10, 10.0, 0.0, 30.0),
    "standardised": _standardised,
}
CASES: list[tuple[str, int, dict]] = []
for operation in ("spectrogram", "bands", "spectrogram_gradient", "bands_gradient"):
    CASES += [(operation, n_fft, {}) for n_fft in (18, 400, 2048, 7, 1085)]
CASES += [(operation, n_fft, {}) for operation in ("few bins", "few bands") for n_fft in (7, 1085, 1933, 4093)]
CASES += [(operation, n_fft, {}) for operation in ("loss", "loss_gradient per row") for n_fft in (18, 400, 4096)]
CASES += [(operation, n_fft, {}) for operation in ("loss per row", "loss_gradient") for n_fft in (64, 2048, 8192)]
CASES += [("mean of losses", n_fft, {}) for n_fft in (64, 400, 4096, 8192)]
CASES += [("kaldi", 400, {}), ("kaldi", 2048, {}), ("kaldi, windowed", 400, {}), ("kaldi, no energy", 400, {})]
CASES += [("bands", 6480, {}), ("bands", 512, {"dtype": torch.float16}), ("bands", 512, {"dtype": torch.bfloat16})]
CASES += [(operation, n_fft, {}) for operation in ("floored", "floored_gradient") for n_fft in (400, 1085)]
CASES += [(operation, n_fft, {}) for operation in ("contiguous", "contiguous bands") for n_fft in (400, 1085)]
CASES += [(operation, 400, {}) for operation in ("limited", "decibels", "standardised")]
