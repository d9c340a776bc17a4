"""Calls that launch the kernels, each with what float64 says of its result: small ones, which PoCL does on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from mps_spectro_patch.kernels.launch import dispatch, feature_passes, features, kaldi, stft_loss, transforms
from mps_spectro_patch.kernels.plans.geometry import IstftGeometry, StftGeometry
from mps_spectro_patch.kernels.tables.filterbank import Bands
from tests.conformance import sources


@dataclass(frozen=True)
class Call:
    """One call of `operation`. hop_length 0: an odd one, which fits no stage; bands: of the filterbank, 0 for none."""

    operation: str
    n_fft: int
    hop_length: int = 0
    bands: int = 0
    used: int = 0  # bins from 0 on that are asked for; 0: all
    power: float = 2.0
    floor: float = 0.0
    contiguous: bool = False  # features
    scale: str = ""  # of features; "": what is usual
    dtype: torch.dtype = torch.float32
    window_dtype: torch.dtype = torch.float32
    complex_output: bool = False
    onesided: bool = True
    terms: stft_loss.Terms = stft_loss.Terms(1.0, 1.0, 0.0, 1e-8)

    @cached_property
    def forward(self) -> StftGeometry:
        hop_length = self.hop_length or max(1, self.n_fft // 3 | 1)
        onesided = self.onesided and not (self.is_complex or self.complex_output)
        return StftGeometry(
            2, 3 * self.n_fft + 5, self.n_fft, hop_length, self.n_fft, self.n_fft // 2, "constant", False, onesided
        )

    @cached_property
    def inverse(self) -> IstftGeometry:
        forward = self.forward
        length = forward.hop_length * (forward.frames - 1) + self.n_fft - 2 * forward.pad
        return IstftGeometry(
            2,
            forward.frames,
            self.n_fft,
            forward.hop_length,
            self.n_fft,
            forward.pad,
            False,
            forward.onesided,
            False,
            length,
        )

    @property
    def is_complex(self) -> bool:
        return self.dtype.is_complex or self.window_dtype.is_complex

    def random(self, seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.complex64 if dtype.is_complex else torch.float32
        return torch.randn(shape, generator=generator, dtype=drawn).to(dtype)

    @property
    def signal(self) -> torch.Tensor:
        return self.random(1, 2, self.forward.samples, dtype=self.dtype)

    @property
    def window(self) -> torch.Tensor:
        return (self.random(2, self.n_fft, dtype=self.window_dtype) * 0.1 + 1).to(self.window_dtype)

    @property
    def spectrum(self) -> torch.Tensor:
        return self.random(3, 2, self.forward.bins, self.forward.frames, dtype=torch.complex64)

    @property
    def gradient(self) -> torch.Tensor:
        return self.random(4, 2, self.inverse.length, dtype=torch.complex64 if self.complex_output else torch.float32)

    @cached_property
    def bank(self) -> Bands | None:
        """Narrow triangles, as those of a mel scale."""
        if not self.bands:
            return None
        bins = self.n_fft // 2 + 1
        centres = (torch.arange(1, self.bands + 1) / (self.bands + 1)) ** 2 * ((self.used or bins) - 3) + 1
        width = torch.clamp(centres * 0.1, min=1.0)[:, None]
        return Bands(torch.clamp(1 - (torch.arange(bins) - centres[:, None]).abs() / width, min=0.0) * 0.3)

    @cached_property
    def wanted(self) -> features.Features:
        width = self.bands or self.used or self.n_fft // 2 + 1
        floor = self.floor * self.n_fft
        scale = self.scale or ("clamp" if self.bands else "linear")
        return features.Features(
            width, self.power, floor=floor, scale=scale, amin=0.5, factor=10.0, contiguous=self.contiguous
        )

    @property
    def feature_gradient(self) -> torch.Tensor:
        return self.random(5, 2, self.wanted.width, self.forward.frames)

    @property
    def kaldi(self) -> kaldi.Kaldi:
        return kaldi.Kaldi(
            self.n_fft, self.forward.hop_length, self.n_fft - self.n_fft // 5, snip_edges=True, remove_dc=True,
            preemphasis=0.9, power=self.power, log=True, amin=1e-7, energy="", energy_floor=-1e30, energy_last=False,
            subtract_mean=False,
        )  # fmt: skip

    def run(self) -> torch.Tensor:
        return OPERATIONS[self.operation].run(self)

    def expected(self) -> torch.Tensor:
        """The same in float64, by torch."""
        return OPERATIONS[self.operation].wide(self)


@dataclass(frozen=True)
class Operation:
    """limit: the relative error, L2, that its results may have."""

    run: Callable[[Call], Any]
    wide: Callable[[Call], torch.Tensor]
    limit: float = 1e-6


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.complex128 if values.is_complex() else torch.float64)


def _stft(call: Call, signal: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    g = call.forward
    padded = torch.nn.functional.pad(signal, (g.pad, g.pad))
    return torch.stft(
        padded, g.n_fft, g.hop_length, window=window, center=False, onesided=g.onesided, return_complex=True
    )


def _istft(call: Call, spectrum: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    g = call.inverse
    return torch.istft(
        spectrum, g.n_fft, g.hop_length, window=window, onesided=g.onesided, return_complex=call.complex_output
    )


def _derivative(function: Callable[..., torch.Tensor], at: int, *given: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """Of function(*given) with respect to its argument `at`, for the gradient `by` of its result."""
    wide = [_wide(one) for one in given]
    wide[at].requires_grad_()
    result = function(*wide)
    return torch.autograd.grad(result, wide[at], _wide(by).to(result.dtype))[0]


def _features(call: Call, signal: torch.Tensor) -> torch.Tensor:
    wanted = call.wanted
    square = _stft(call, signal, _wide(call.window)).abs() ** 2
    square = torch.clamp(square, min=wanted.floor) if wanted.floor else square
    power = square ** (wanted.power / 2)
    bands = power[:, : wanted.width] if call.bank is None else _wide(call.bank.basis) @ power
    if wanted.scale == "linear":
        return bands
    given = {"clamp": bands.clamp(min=wanted.amin), "add": bands + wanted.amin, "log1p": 1 + bands / wanted.amin}
    return wanted.factor * torch.log(given[wanted.scale])


def _loss(call: Call, signal: torch.Tensor) -> torch.Tensor:
    terms = call.terms

    def logarithm(magnitude: torch.Tensor) -> torch.Tensor:
        return torch.log(terms.factor * magnitude + terms.added)

    x, y = (
        torch.clamp(_stft(call, one, _wide(call.window)).abs() ** 2, min=terms.eps).sqrt()
        for one in (signal, _wide(_target(call)))
    )
    distance = torch.nn.functional.mse_loss if terms.squared else torch.nn.functional.l1_loss
    loss = terms.convergence * (y - x).norm() / y.norm() + terms.linear * distance(x, y)
    return loss + (terms.log * distance(logarithm(x), logarithm(y)) if terms.log else 0)


def _target(call: Call) -> torch.Tensor:
    return call.signal.flip(1) * torch.linspace(0.2, 3, call.forward.samples)


def _loss_gradient(call: Call) -> torch.Tensor:
    given = call.signal, _target(call), call.window, call.forward, call.terms
    loss, terms = stft_loss.stft_loss(*given)
    return stft_loss.stft_loss_gradient(torch.ones_like(loss), None, terms, *given)


def _kaldi(call: Call, signal: torch.Tensor) -> torch.Tensor:
    wanted = call.kaldi
    frames = signal.unfold(1, wanted.win_length, wanted.hop_length)
    frames = frames - frames.mean(2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
    window = _wide(call.window)[: wanted.win_length]
    spectrum = torch.fft.rfft((frames - wanted.preemphasis * before) * window, wanted.n_fft)
    assert call.bank is not None
    return torch.log(torch.clamp(spectrum.abs() ** wanted.power @ _wide(call.bank.basis).T, min=wanted.amin))


def _decibels(values: torch.Tensor) -> torch.Tensor:
    decibels = 10 * torch.log(torch.clamp(values, min=1e-10))
    return torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - 30)


def _standardised(call: Call) -> torch.Tensor:
    values = call.spectrum.real.mT.contiguous().mT  # frame by frame
    feature_passes.standardise(values, 1e-5)
    return values


def _standardised_wide(call: Call) -> torch.Tensor:
    values = _wide(call.spectrum.real)
    return (values - values.mean(2, keepdim=True)) / (values.std(2, keepdim=True) + 1e-5)


def _kaldi_mean(call: Call) -> torch.Tensor:
    assert call.bank is not None
    return kaldi.kaldi(
        call.signal, call.window[: call.kaldi.win_length], replace(call.kaldi, subtract_mean=True), call.bank
    )


def _mean_taken(values: torch.Tensor) -> torch.Tensor:
    return values - values.mean(1, keepdim=True)


OPERATIONS = {
    "stft": Operation(
        lambda c: transforms.stft(c.signal, c.window, c.forward),
        lambda c: _stft(c, _wide(c.signal), _wide(c.window)),
        3e-7,
    ),
    "istft": Operation(
        lambda c: transforms.istft(c.spectrum, c.window, c.inverse, c.complex_output),
        lambda c: _istft(c, _wide(c.spectrum), _wide(c.window)),
        3e-7,
    ),
    "stft adjoint": Operation(
        lambda c: transforms.stft_adjoint(c.spectrum, c.window, c.forward, c.dtype.is_complex),
        lambda c: _derivative(lambda x, w: _stft(c, x, w), 0, c.signal, c.window, by=c.spectrum),
    ),
    "istft adjoint": Operation(
        lambda c: transforms.istft_adjoint(c.gradient, c.window, c.inverse),
        lambda c: _derivative(lambda x, w: _istft(c, x, w), 0, c.spectrum, c.window, by=c.gradient),
    ),
    "stft window gradient": Operation(
        lambda c: transforms.stft_window_gradient(c.spectrum, c.signal, c.window, c.forward),
        lambda c: _derivative(lambda x, w: _stft(c, x, w), 1, c.signal, c.window, by=c.spectrum),
    ),
    "istft window gradient": Operation(
        lambda c: transforms.istft_window_gradient(c.gradient, c.spectrum, c.window, c.inverse),
        lambda c: _derivative(lambda x, w: _istft(c, x, w), 1, c.spectrum, c.window, by=c.gradient),
    ),
    "features": Operation(
        lambda c: features.features(c.signal, c.window, c.forward, c.wanted, c.bank),
        lambda c: _features(c, _wide(c.signal)),
    ),
    "features gradient": Operation(
        lambda c: features.features_gradient(c.feature_gradient, c.signal, c.window, c.forward, c.wanted, c.bank),
        lambda c: _derivative(lambda x: _features(c, x), 0, c.signal, by=c.feature_gradient),
        3e-5,  # of a logarithm: largest where |X| is smallest, 256 times below its root mean square at n_fft 16384
    ),
    "loss": Operation(
        lambda c: stft_loss.stft_loss(c.signal, _target(c), c.window, c.forward, c.terms)[0],
        lambda c: _loss(c, _wide(c.signal)),
    ),
    "loss gradient": Operation(
        _loss_gradient, lambda c: _derivative(lambda x: _loss(c, x), 0, c.signal, by=torch.ones(())), 1e-2
    ),  # the signs of differences that are almost 0 are rounding
    "kaldi": Operation(
        lambda c: kaldi.kaldi(c.signal, c.window[: c.kaldi.win_length], c.kaldi, c.bank),
        lambda c: _kaldi(c, _wide(c.signal)),
    ),
    "kaldi, less its mean": Operation(_kaldi_mean, lambda c: _mean_taken(_kaldi(c, _wide(c.signal))), 1e-5),
    "decibels": Operation(
        lambda c: feature_passes.decibels(c.spectrum.abs().contiguous(), 2, 1e-10, 10.0, 0.0, 30.0),
        lambda c: _decibels(_wide(c.spectrum).abs()),
    ),
    "standardised": Operation(_standardised, _standardised_wide),
}


def launches(call: Call) -> list[tuple[str, str, int]]:
    """(kernel, defines, threads of a group) of what it launches; nothing runs."""
    made: list[tuple[str, str, int]] = []

    def kernel(name: str, defines: str, device_type: str) -> Callable[..., None]:
        def launch(*args: Any, threads: int, group_size: int, arg_casts: Any = None) -> None:
            if (name, defines, group_size) not in made:
                made.append((name, defines, group_size))

        return launch

    with launching(kernel):
        call.run()
    return made


@contextmanager
def launching(kernel: Callable[[str, str, str], Callable[..., None]]) -> Iterator[None]:
    """`kernel` gives the kernels of whatever is launched while it lasts."""
    original = dispatch.kernel
    forget()
    dispatch.kernel = kernel  # type: ignore[assignment]
    try:
        yield
    finally:
        dispatch.kernel = original
        forget()


def forget() -> None:
    """No launch is left that was made of another kernel."""
    for family in sources.families():
        for value in vars(family).values():
            if hasattr(value, "cache_clear") and value.__module__ == family.__name__:
                value.cache_clear()
