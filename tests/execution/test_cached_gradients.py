"""Cached calls with a gradient: forward and backward are launched at once, and the gradient is right."""

from __future__ import annotations

import inspect

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache
from mps_spectro_patch.ops import gradients, replay
from tests.precision import wide

N_FFT, HOP, SAMPLES, FRAMES = 64, 16, 900, 40

pytestmark = pytest.mark.usefixtures("unsampled")


@pytest.fixture
def window(torch_device):
    return torch.rand(N_FFT, device=torch_device) + 0.5


@pytest.fixture
def launched(monkeypatch):
    """For each backward pass of a known call whether its launch was known as well."""
    seen = []
    backward, run = replay.Known.backward, gradients.run

    def watched(self, gradient, window):
        seen.append(True)
        return backward(self, gradient, window)

    def full_path(*arguments):
        if seen:
            seen[-1] = False
        return run(*arguments)

    monkeypatch.setattr(replay.Known, "backward", watched)
    monkeypatch.setattr(gradients, "run", full_path)
    return seen


def signal_for(op, device, rows=2):
    shape = () if rows is None else (rows,)
    if op == "stft":
        return torch.randn(*shape, SAMPLES, device=device).requires_grad_()
    return torch.randn(*shape, N_FFT // 2 + 1, FRAMES, dtype=torch.complex64, device=device).requires_grad_()


def call(op, x, window):
    if op == "stft":
        return torch.stft(x, N_FFT, HOP, window=window, return_complex=True)
    return torch.istft(x, N_FFT, HOP, window=window)


def exactly(op, x, window, weigh):
    """The gradient of weigh(result), by torch in float64."""
    with msp.accelerated(devices=()):
        exact = wide(x).requires_grad_()
        return torch.autograd.grad(weigh(call(op, exact, wide(window))), exact)[0].to(x)


def weigher(op, x, window):
    """A linear function of the result, by random weights."""
    with torch.no_grad():
        weights = torch.randn_like(call(op, x, window))

    def weigh(result):
        if result.is_complex():
            return (result * weights.to(result).conj()).real.sum()
        return (result * weights.to(result)).sum()

    return weigh


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_every_gradient_is_launched_at_once_and_right(op, rows, window, launched, on, torch_device):
    with msp.accelerated(**on):
        for turn in range(3):
            x = signal_for(op, torch_device, rows)
            weigh = weigher(op, x, window)
            result = call(op, x, window)
            got = torch.autograd.grad(weigh(result), x)[0]
            right = exactly(op, x, window, weigh)
            assert got.shape == x.shape and got.dtype == x.dtype
            assert (got - right).norm() / right.norm() < 1e-6
            assert launched == [True] * (turn + 2)  # the first is compared before
    assert msp.stats()[op].fast == 6 and set(msp.stats()[op].fallback) <= {"device"}


def test_no_signature_is_looked_up(op, window, on, torch_device, monkeypatch):
    """torch does that for functions with setup_context, in every call, and it costs more than all of ours."""
    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="off"):
        call(op, x, window).abs().sum().backward()
        monkeypatch.setattr(inspect, "signature", lambda *arguments: pytest.fail("a signature was looked up"))
        for clear in (lambda: None, call_cache.clear):
            clear()
            call(op, x, window).abs().sum().backward()


def test_the_first_gradient_is_compared_as_the_first_result_is(op, window, launched, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            with torch.no_grad():
                call(op, x, window)
        assert msp.stats()[op].verified == 1
        for _ in range(3):
            call(op, x, window).abs().sum().backward()
        assert msp.stats()[op].verified == 2
    assert launched == [True] * 4  # one of them to compare


LAYOUTS = {
    "as it comes": lambda gradient: gradient,
    "contiguous": lambda gradient: gradient.contiguous(),
    "rows are one": lambda gradient: gradient[:1].expand_as(gradient),
    "a number": lambda gradient: gradient.flatten()[0].expand_as(gradient),
    "with gaps": lambda gradient: torch.stack([gradient, gradient], -1)[..., 1],
    "conjugated": lambda gradient: gradient.conj() if gradient.is_complex() else torch._neg_view(gradient),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_any_layout(op, layout, window, launched, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="off"):
        call(op, x, window)
        for _ in range(2):
            result = call(op, x, window)
            given = LAYOUTS[layout](torch.randn_like(result))
            got = torch.autograd.grad(result, x, given, retain_graph=True)[0]
            again = torch.autograd.grad(result, x, given)[0]
            assert torch.equal(got, again)
            plain = given.resolve_conj().resolve_neg()
            right = exactly(op, x, window, lambda wide, plain=plain: _inner(wide, plain))
            assert (got - right).norm() / right.norm() < 1e-6
    assert launched == [layout != "conjugated"] * 4


def _inner(result, given):
    given = given.to(result)
    return (result * given.conj()).real.sum() if result.is_complex() else (result * given).sum()


def test_a_gradient_of_the_gradient(op, window, on, torch_device):
    results = []
    for scope in ({**on, "verify": "off"}, {"devices": ()}):
        torch.manual_seed(3)
        x = signal_for(op, torch_device)
        with msp.accelerated(**scope):
            call(op, x, window)
            first = torch.autograd.grad(call(op, x, window).abs().pow(3).sum(), x, create_graph=True)[0]
            results.append(torch.autograd.grad(first.abs().pow(2).sum(), x)[0])
    assert (results[0] - results[1]).norm() / results[1].norm() < 1e-5


def test_many_gradients_at_once(op, window, on, torch_device):
    results = []
    for scope in ({**on, "verify": "off"}, {"devices": ()}):
        torch.manual_seed(4)
        x = signal_for(op, torch_device)
        with msp.accelerated(**scope):
            call(op, x, window)
            result = call(op, x, window)
            given = torch.randn(3, *result.shape, dtype=result.dtype, device=torch_device)
            results.append(torch.autograd.grad(result, x, given, is_grads_batched=True)[0])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_a_window_that_changed_before_the_backward_pass_is_torchs_error(op, window, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="off"):
        call(op, x, window)
        result = call(op, x, window)
        window.mul_(0.5)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            result.abs().sum().backward()
        weigh = weigher(op, x, window)
        got = torch.autograd.grad(weigh(call(op, x, window)), x)[0]
        right = exactly(op, x, window, weigh)
        assert (got - right).norm() / right.norm() < 1e-6


def test_a_learned_window_goes_the_full_path(op, window, launched, on, torch_device):
    x = signal_for(op, torch_device)
    window.requires_grad_()
    with msp.accelerated(**on, verify="off"):
        for _ in range(2):
            got = torch.autograd.grad(call(op, x, window).abs().sum(), (x, window))
            assert all(one.abs().sum() > 0 for one in got)
    assert launched == []
