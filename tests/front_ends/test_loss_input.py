"""STFT losses of drawn input, right and wrong: on the kernels they have the outcome of torch's functions, also where a
call is launched from the cache."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import mps_spectro_patch as msp

SIZES = dict(fft_size=64, hop_size=16, win_length=48)
SHAPES = (2, 1, 500), (3, 400), (500,), (1, 2, 200), (2, 33), (2, 32), (2, 64), (0, 500), (2, 0), (1, 1, 1), ()
DTYPES = torch.float32, torch.float64, torch.float16, torch.int64, torch.complex64


@dataclass
class Signal:
    shape: tuple
    dtype: torch.dtype
    content: str
    layout: str
    seed: int
    learns: bool

    def tensor(self, device: torch.device) -> torch.Tensor:
        values = torch.randn(self.shape, generator=torch.Generator().manual_seed(self.seed))
        if self.content == "silence":
            values = values * 0
        elif self.content == "faint":
            values = values * 1e-20
        elif values.numel() and self.content in ("nan", "inf"):
            values.view(-1)[values.numel() // 2] = float(self.content)
        values = values.to(self.dtype) if self.content in ("noise", "silence", "faint") else values
        if self.layout == "every second" and values.dim():
            values = torch.stack([values, values], -1)[..., 0]
        elif self.layout == "backwards" and values.dim() > 1:
            values = values.transpose(-1, -2).contiguous().transpose(-1, -2)
        elif self.layout == "odd place" and values.dim():
            values = torch.cat([values[..., :1], values], -1)[..., 1:]
        values = values.to(device)
        return values.requires_grad_(self.learns and values.is_floating_point())


def weighted(*values: tuple) -> some.SearchStrategy:
    """(value, how often)"""
    return some.sampled_from([value for value, times in values for _ in range(times)])


def signals(shape: tuple, dtype: torch.dtype, seed: int) -> some.SearchStrategy[Signal]:
    return some.builds(
        Signal, some.just(shape), some.just(dtype),
        weighted(("noise", 5), ("silence", 2), ("faint", 1), ("nan", 1), ("inf", 1)),
        weighted(("plain", 4), ("every second", 1), ("backwards", 1), ("odd place", 1)), some.just(seed),
        some.booleans(),
    )  # fmt: skip


@some.composite
def pairs(draw) -> tuple[Signal, Signal]:
    shape = draw(weighted(*((shape, 4 if n < 5 else 1) for n, shape in enumerate(SHAPES))))
    dtype = draw(weighted(*((dtype, 8 if n == 0 else 1) for n, dtype in enumerate(DTYPES))))
    other_shape = draw(weighted((shape, 9), *((other, 1) for other in SHAPES[:3])))
    other_dtype = draw(weighted((dtype, 9), (torch.float32, 1), (torch.float64, 1)))
    seed = draw(some.integers(0, 9))  # of signals that are almost equal, gradients have any sign
    return draw(signals(shape, dtype, seed)), draw(signals(other_shape, other_dtype, seed + 10))


LOSSES = [
    dict(SIZES), dict(SIZES, w_lin_mag=0.5, mag_distance="L2"), dict(SIZES, w_sc=0.0, reduction="sum"),
    dict(SIZES, w_lin_mag=1.0, output="full"),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(len(LOSSES)))
def test_drawn_signals_have_the_outcome_of_torchs_functions(number, device_name, torch_device):
    module = msp.STFTLoss(**LOSSES[number]).to(torch_device)
    options = dict(devices=(device_name,), on_error="raise", verify="off")
    fused = 0

    def outcome(pair, run):
        x, y = (one.tensor(torch_device) for one in pair)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = run(x, y)
                parts = [torch.as_tensor(one) for one in result] if isinstance(result, tuple) else [result]
                if parts[0].requires_grad:
                    parts[0].backward()
        except Exception as error:
            return type(error), str(error)
        return [one.detach().cpu() for one in parts], [None if one.grad is None else one.grad.cpu() for one in (x, y)]

    def composed(x, y):
        return module._composed(x, y, module.window)

    @hypothesis.seed(torch.initial_seed())
    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(pairs())
    def draw(pair):
        nonlocal fused
        if torch_device.type == "mps" and torch.float64 in (pair[0].dtype, pair[1].dtype):
            return
        expected = outcome(pair, composed)
        with msp.accelerated(**options):
            before = msp.stats()["stft_loss"].fast if "stft_loss" in msp.stats() else 0
            found = [outcome(pair, module) for _ in range(2)]
            fused += ("stft_loss" in msp.stats()) and msp.stats()["stft_loss"].fast > before
        # Whether a bin of a frame with an infinity is infinite or NaN depends on the factors that an FFT multiplies by.
        if "inf" in (pair[0].content, pair[1].content) and not isinstance(expected[0], type):
            assert all(one.isfinite() == right.isfinite() for got in found
                       for one, right in zip(got[0], expected[0], strict=True))  # fmt: skip
            return
        for got in found:
            agree(got, expected, pair[0].dtype is not torch.float16, 1e-3 if module.reduction == "sum" else 1e-5)

    draw()
    assert fused > 3


def agree(got, expected, exact: bool, noise: float) -> None:
    """noise: what rounding makes of signals that are almost equal."""
    if isinstance(expected[0], type):
        assert got == expected
        return
    for one, right in zip(got[0], expected[0], strict=True):
        assert one.dtype is right.dtype
        torch.testing.assert_close(one, right, rtol=1e-4 if exact else 2e-2, atol=noise, equal_nan=True)
    for one, right in zip(got[1], expected[1], strict=True):
        assert (one is None) == (right is None)
        if right is not None and exact:
            # Samples that lie under a zero of the window get a NaN from torch alone.
            assert not (right.isfinite() & ~one.isfinite()).any() and one.isfinite().all() == right.isfinite().all()
            one, right = (torch.where(right.isfinite(), t, 0).double() for t in (one, right))
            # In a bin where both are equally loud, an absolute distance has a gradient of either sign.
            assert float((one - right).norm()) <= 0.05 * float(right.norm()) + 1e-6


def test_a_loss_from_the_cache_reads_what_is_in_its_tensors_now(device_name, torch_device):
    x, y = torch.randn(2, 2, 500, device=torch_device)
    module = msp.STFTLoss(**SIZES).to(torch_device)
    with msp.accelerated(devices=(device_name,), on_error="raise", verify="off"):
        first = module(x, y)
        assert torch.equal(module(x, y), first)
        assert not torch.equal(module(x.clone() * 2, y), first)
        x *= 2
        changed = module(x, y)
        module.window[:20] = 0
        assert not torch.equal(module(x, y), changed)
        module.w_sc = 0.0
        assert float(module(x, y)) < float(changed)
        other = torch.randn(2, 501, device=torch_device)[:, 1:]
        torch.testing.assert_close(module(other, y), module._composed(other, y, module.window), rtol=1e-5, atol=0)
