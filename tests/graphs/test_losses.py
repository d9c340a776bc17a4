"""STFT losses as hundreds of vocoders have copied them: two signals' magnitudes and their terms become one call."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import mps_spectro_patch as msp
from mps_spectro_patch.graphs import backend, rewriting

WINDOW = torch.hann_window(48)
OF_OTHER_DTYPE = torch.hann_window(48, dtype=torch.float64)


def magnitude(x, floor=1e-7, turned=True, window=WINDOW):
    window = window.to(x.device, x.dtype)
    spectrum = torch.stft(x, 64, 16, 48, window, return_complex=True)
    result = torch.sqrt(torch.clamp(spectrum.real**2 + spectrum.imag**2, min=floor))
    return result.transpose(2, 1) if turned else result


def convergence(x, y):
    return torch.norm(y - x, p="fro") / torch.norm(y, p="fro")


def whole(x, y):
    x, y = magnitude(x), magnitude(y)
    return convergence(x, y), F.l1_loss(torch.log(y), torch.log(x))


def of_squares(x, y):
    x, y = magnitude(x, 1e-5, turned=False), magnitude(y, 1e-5, turned=False)
    return F.mse_loss(x.log(), y.log()) * 0.5 + F.mse_loss(x, y), convergence(x, y)


def of_logarithms(x, y):
    return (F.l1_loss(magnitude(y).log(), magnitude(x).log()),)


def converted(x, y):
    """A conversion for each signal, as where the window is on another device."""
    return (F.l1_loss(*(magnitude(one, window=OF_OTHER_DTYPE).log() for one in (x, y))),)


def three_resolutions(x, y):
    return tuple(sum(whole(x * gain, y)) for gain in (1, 2))


def summed_up_in_place(x, y):
    """As auraloss does it: with angles that nobody wants, and sums in place."""
    found = 0.0
    for gain in (1, 2):
        spectra = [
            torch.stft(one * gain, 64, 16, 48, WINDOW.to(x.device, x.dtype), return_complex=True) for one in (x, y)
        ]
        a, b = (torch.sqrt(torch.clamp(one.real**2 + one.imag**2, min=1e-5)) for one in spectra)
        for one in spectra:
            torch.angle(one)
        found += convergence(a, b)
        found += F.l1_loss(a.log(), b.log())
    found /= 2
    return (found,)


@pytest.fixture
def signals(torch_device):
    return torch.randn(2, 500).to(torch_device), torch.randn(2, 500).to(torch_device)


@pytest.fixture
def options(device_name):
    return dict(devices=[device_name], verify="first", on_error="raise")


@pytest.fixture
def fused(monkeypatch):
    """The plans of losses that were put into graphs."""
    torch._dynamo.reset()
    msp.reset_stats()
    plans, put = [], backend.put_step

    def recorded(graph, plan, **how):
        plans.extend([plan] * isinstance(plan, rewriting.LossPlan))
        return put(graph, plan, **how)

    monkeypatch.setattr(backend, "put_step", recorded)
    return plans


def with_gradients(loss, x, y, of_both=False):
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_(of_both)
    results = loss(x, y)
    sum(result * (place + 1) for place, result in enumerate(results)).sum().backward()
    return results, x.grad, y.grad


def check(loss, x, y, options, of_both=False):
    expected, *gradients = with_gradients(loss, x.cpu().double(), y.cpu().double(), of_both)
    # How much float32 costs gradients of the logarithm of a magnitude that is hardly there, as drawn signals may have.
    _, *rounded = with_gradients(loss, x.cpu(), y.cpu(), of_both)
    costs = [0.0] * len(expected)
    costs += [
        0.0 if right is None else float((one - right).abs().max())
        for one, right in zip(rounded, gradients, strict=True)
    ]
    with msp.accelerated(**options):
        function = msp.fuse(lambda x, y: loss(x, y))
        for _ in range(2):
            results, *found = with_gradients(function, x, y, of_both)
            for got, right, cost in zip((*results, *found), (*expected, *gradients), costs, strict=True):
                if right is not None:
                    torch.testing.assert_close(got.cpu().double(), right, rtol=1e-3, atol=1e-5 + 3 * cost)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "loss, count",
    [(whole, 1), (of_squares, 1), (of_logarithms, 1), (converted, 1), (three_resolutions, 2), (summed_up_in_place, 2)],
)
def test_a_loss_is_one_call_a_resolution(loss, count, signals, options, fused):
    check(loss, *signals, options)
    assert len(fused) == count and msp.stats()["graph loss"].fast == 2 * count and msp.stats()["stft"].fast == 0


@pytest.mark.thorough
def test_gradients_of_the_target_are_right(signals, options, fused):
    check(whole, *signals, options, of_both=True)
    assert len(fused) == 1


@pytest.mark.thorough
def test_sizes_that_vary_are_fused_and_signals_of_different_lengths_are_not(options, fused, torch_device):
    """In the second graph the sizes are symbols; 500 and 501 samples have as many frames, and are no loss of ours."""
    with msp.accelerated(**options):
        function = msp.fuse(whole)
        for count, (rows, samples, others) in enumerate([(2, 500, 500), (3, 610, 610), (5, 720, 720)], 1):
            x, y = torch.randn(rows, samples), torch.randn(rows, others)
            expected = whole(x.double(), y.double())
            for got, right in zip(function(x.to(torch_device), y.to(torch_device)), expected, strict=True):
                torch.testing.assert_close(got.cpu().double(), right, rtol=1e-3, atol=1e-5)
            assert msp.stats()["graph loss"].fast == count and len(fused) == min(count, 2)
        x, y = torch.randn(5, 721), torch.randn(5, 720)
        expected = whole(x.double(), y.double())
        for got, right in zip(function(x.to(torch_device), y.to(torch_device)), expected, strict=True):
            torch.testing.assert_close(got.cpu().double(), right, rtol=1e-3, atol=1e-5)
    assert msp.stats()["graph loss"].fast == 3


def magnitudes_returned(x, y):
    x, y = magnitude(x), magnitude(y)
    return convergence(x, y), x.mean()


def both_kinds(x, y):
    x, y = magnitude(x), magnitude(y)
    return F.l1_loss(x, y), F.mse_loss(x.log(), y.log())


def turned_quotient(x, y):
    x, y = magnitude(x), magnitude(y)
    return torch.norm(y - x, p="fro") / torch.norm(x, p="fro"), torch.norm(x - y, p="fro") / torch.norm(y, p="fro")


def other_floor(x, y):
    return whole(x, y)[:1] + (F.l1_loss(magnitude(x, 1e-3), magnitude(y, 1e-5)),)


def summed(x, y):
    return F.l1_loss(magnitude(x), magnitude(y), reduction="sum"), F.l1_loss(
        magnitude(x), magnitude(y), reduction="none"
    )


def norm_of_rows(x, y):
    x, y = magnitude(x), magnitude(y)
    return ((torch.norm(y - x, dim=(1, 2)) / torch.norm(y, dim=(1, 2))).mean(),)


def changed_between(x, y):
    a = magnitude(x * 1)
    y = y * 1
    b = magnitude(y)
    y.mul_(2)
    return (F.l1_loss(a, b) + F.l1_loss(y, x),)


def changed_later(x, y):
    """Where gradients are wanted, the fused call would keep what is changed."""
    y = y * 1
    loss = F.l1_loss(magnitude(x), magnitude(y))
    y += 1
    return loss, y.mean() * x.mean()


def changed_through_a_view(x, y):
    y = y * 1
    start = y[:, :4]
    loss = F.l1_loss(magnitude(x), magnitude(y))
    start += 1
    return loss, y.mean() * x.mean()


def one_window_changed(x, y):
    one, other = (OF_OTHER_DTYPE.to(x.device, x.dtype, copy=True) for _ in range(2))
    one.mul_(2)
    return (F.l1_loss(magnitude(x, window=one), magnitude(y, window=other)),)


def their_window_changed(x, y):
    both = OF_OTHER_DTYPE.clone()
    one = both.to(x.device, x.dtype, copy=True)
    both.mul_(2)
    return (F.l1_loss(magnitude(x, window=one), magnitude(y, window=both.to(x.device, x.dtype, copy=True))),)


@pytest.mark.thorough
@pytest.mark.parametrize("loss", [
    one_window_changed, their_window_changed, magnitudes_returned, both_kinds, turned_quotient, summed, norm_of_rows,
    changed_between, changed_later, changed_through_a_view,
])  # fmt: skip
def test_what_is_no_such_loss_stays(loss, signals, options, fused):
    check(lambda x, y: tuple(one.sum() for one in loss(x, y)), *signals, options)
    assert not fused


@pytest.mark.thorough
def test_other_floors_are_other_losses(signals, options, fused):
    check(other_floor, *signals, options)
    assert len(fused) == 1
