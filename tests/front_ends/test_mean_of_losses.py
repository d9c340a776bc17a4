"""Losses of several sizes as one call, once each of them is cached: the same bits, and whatever breaks is as it was."""

from __future__ import annotations

import copy

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache, call_sites, quarantine
from mps_spectro_patch.front_ends import losses
from mps_spectro_patch.kernels import stft_loss as kernels
from mps_spectro_patch.ops.mean_of_losses import MeanOfLosses

SIZES = dict(fft_sizes=(64, 128, 30), hop_sizes=(16, 24, 7), win_lengths=(48, 128, 30))
NAME = "MultiResolutionSTFTLoss"


@pytest.fixture
def loss(torch_device):
    return msp.MultiResolutionSTFTLoss(**SIZES, w_lin_mag=0.5).to(torch_device)


@pytest.fixture
def apart(monkeypatch):
    """apart(loss, x, y): the same with each loss for itself."""

    def call(loss, x, y):
        with monkeypatch.context() as patch:
            patch.setattr(type(loss), "_mean", lambda *_: None)
            return loss(x, y)

    return call


def step(call, x, y):
    """(the loss, its gradient)"""
    leaf = x.detach().clone().requires_grad_()
    result = call(leaf, y)
    return result.detach(), torch.autograd.grad(result, leaf)[0]


def same(loss, x, y, apart):
    torch.testing.assert_close(loss(x, y), apart(loss, x, y), rtol=3e-7, atol=0)


def together():
    return msp.stats()[NAME].fast if NAME in msp.stats() else 0


@pytest.mark.parametrize("layout", ["plain", "transposed", "expanded target", "every other", "one row", "offset"])
def test_the_second_call_is_one_and_has_the_numbers_of_the_first(layout, loss, signals, scope, apart):
    x, y = signals
    x, y = {
        "plain": (x, y), "transposed": (x.transpose(0, 1), y.transpose(0, 1)), "one row": (x[:1, 0], y[:1, 0]),
        "expanded target": (x, y[:1, :1].expand(3, 2, 500)), "every other": (x[..., ::2], y[..., ::2]),
        "offset": (x[..., 1:], y[..., 1:]),
    }[layout]  # fmt: skip
    first = step(loss, x, y)
    assert not together()
    second = step(loss, x, y)
    assert together() == 1
    with torch.no_grad():
        third = [loss(x, y) for _ in range(2)]
    assert together() >= 2
    for one in (second[0], *third):  # a GPU divides by 3 in its own way
        torch.testing.assert_close(one, first[0], rtol=3e-7, atol=0)
    torch.testing.assert_close(second[1], first[1], rtol=1e-5, atol=1e-6 * float(first[1].abs().max()))
    assert second[1].shape == x.shape


@pytest.mark.thorough
@pytest.mark.parametrize("one", [False, True])
def test_the_program_may_change_the_loss_in_place(one, loss, signals, scope):
    x, y = signals
    loss = loss.stft_losses[0] if one else loss
    right = step(loss, x, y)
    for _ in range(3):
        leaf = x.detach().clone().requires_grad_()
        found = loss(leaf, y)
        found /= 2
        torch.testing.assert_close(found.detach(), right[0] / 2, rtol=3e-7, atol=0)
        torch.testing.assert_close(
            torch.autograd.grad(found, leaf)[0], right[1] / 2, rtol=1e-5, atol=1e-6 * float(right[1].abs().max())
        )


def test_other_numbers_and_other_windows_are_looked_at(loss, signals, scope, apart):
    x, y = signals
    for _ in range(2):
        loss(x, y)
    x, y = y * 0.3, x
    same(loss, x, y, apart)
    assert together() == 2
    for one in loss.stft_losses:
        one.window.mul_(torch.rand_like(one.window))
    same(loss, x, y, apart)
    assert together() == 3
    loss.stft_losses[1].w_log_mag = 0.25
    apart(loss, x, y)
    same(loss, x, y, apart)
    assert together() == 4  # it is cached under its own weights


def test_the_report_has_those_calls_alone_that_were_one(loss, signals, options):
    x, y = signals
    loss(x.cpu(), y.cpu())  # not accelerated
    with msp.accelerated(**options):
        for _ in range(3):
            loss(x, y)
    found = [(site.outcome, tally.count) for site, tally in call_sites.sites().items() if site.op == NAME]
    assert found == [("fast", 2)]


def test_its_node_is_one_and_frees_what_it_keeps(loss, signals, scope):
    x, y = signals
    leaf = x.clone().requires_grad_()
    loss(leaf, y)
    result = loss(leaf, y)
    assert result.grad_fn.name() == "_MeanBackward"
    assert [one for one, _ in result.grad_fn.next_functions if one is not None][0].name().endswith("AccumulateGrad")
    result.backward()
    with pytest.raises(RuntimeError, match="second time"):
        result.backward()


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.thorough), 3])
def test_a_step_is_a_launch_per_size_and_direction_and_one_more(count, scope, signals, launches, torch_device):
    """The copy of the target is made in that one, and sums and gradients add up in the kernels."""
    sizes = {name: values[:count] for name, values in SIZES.items()}
    loss = msp.MultiResolutionSTFTLoss(**sizes).to(torch_device)
    x, y = signals
    for _ in range(2):  # tables are made
        step(loss, x, y)
    leaf = x.detach().clone().requires_grad_()
    with torch.autograd.profiler.profile() as profile:
        launches.clear()
        result = loss(leaf, y)
        assert len(launches) == count + 1
        torch.autograd.grad(result, leaf)
        assert len(launches) == 2 * count + 1
    assert together() == 2
    named = {event.name.partition("::")[2] for event in profile.function_events}
    assert "empty" in named or "new_empty" in named
    assert not named & {"clone", "contiguous", "add", "add_", "div", "mul", "sum"}


@pytest.mark.thorough
@pytest.mark.parametrize("layout", ["transposed", "expanded", "every other"])
def test_a_target_that_is_made_contiguous_is_copied_once(layout, loss, signals, scope, launches):
    x, y = signals
    x, y = {
        "transposed": (x.transpose(0, 1).contiguous(), y.transpose(0, 1)), "expanded": (x, y[:1, :1].expand(3, 2, 500)),
        "every other": (x[..., :250].contiguous(), y[..., ::2]),
    }[layout]  # fmt: skip
    step(loss, x, y)
    launches.clear()
    leaf = x.clone().requires_grad_()
    result = loss(leaf, y)
    assert result.grad_fn.name() == "_MeanBackward"
    assert len(launches) == 4 and launches[-1] == 1  # a single threadgroup copies nothing
    expected = step(loss, x, y)[1]
    with torch.no_grad():
        y.copy_(y * 2) if layout != "expanded" else signals[1].mul_(2)
    torch.testing.assert_close(torch.autograd.grad(result, leaf)[0], expected, rtol=0, atol=0)


@pytest.mark.thorough
@pytest.mark.parametrize("upstream", [1.0, -2.5, 0.0])
def test_the_gradient_is_scaled_by_what_comes_from_above(upstream, loss, signals, scope, apart):
    x, y = signals
    step(loss, x, y)
    leaf = x.detach().clone().requires_grad_()
    got, expected = (
        torch.autograd.grad(upstream * call(leaf, y), leaf)[0] for call in (loss, lambda *a: apart(loss, *a))
    )
    assert together() == 1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))
    if upstream == 0:
        assert not got.any()


@pytest.mark.thorough
def test_a_mean_of_more_losses_than_fit_one_launch_is_each_for_itself(signals, scope, apart, torch_device, monkeypatch):
    monkeypatch.setattr(kernels, "LOSSES_MAX", 2)
    loss, (x, y) = msp.MultiResolutionSTFTLoss(**SIZES).to(torch_device), signals
    for _ in range(3):
        same(loss, x, y, apart)
    assert not together()


def test_the_most_losses_fit_into_what_metal_takes_without_a_buffer():
    from mps_spectro_patch.kernels.launch.params import StftLossFinishParams, StftLossWeights

    for one in (StftLossFinishParams, StftLossWeights):
        assert kernels.LOSSES_MAX * 4 * len(one.members()) <= 4096


UNUSUAL = {
    "all terms": lambda loss: [setattr(one, "output", "full") for one in loss.stft_losses],
    "phases": lambda loss: setattr(loss.stft_losses[0], "w_phs", 1.0),
    "a hook on one": lambda loss: loss.stft_losses[1].register_forward_hook(lambda *a: None),
    "a subclass": lambda loss: setattr(loss.stft_losses[1], "__class__", type("Mine", (msp.STFTLoss,), {})),
    "a forward of its own": lambda loss: setattr(loss.stft_losses[2], "forward", lambda x, y: (x - y).abs().mean()),
    "a window with a gradient": lambda loss: setattr(
        loss.stft_losses[0], "window", torch.nn.Parameter(loss.stft_losses[0]._buffers.pop("window"))
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNUSUAL)
def test_where_one_is_unusual_each_is_for_itself(what, loss, signals, scope, apart):
    UNUSUAL[what](loss)
    for _ in range(3):
        got, expected = loss(*signals), apart(loss, *signals)
        for one, right in zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]:
            torch.testing.assert_close(one, right, equal_nan=True)
    assert not together()


def test_a_target_with_a_gradient_and_bits_of_negation_are_for_each(loss, signals, scope):
    x, y = signals
    for _ in range(3):
        target = y.clone().requires_grad_()
        torch.autograd.grad(loss(x, target), target)
        loss(torch.complex(x, x).conj().imag, y)
    assert not together()


@pytest.mark.thorough
def test_second_derivatives_and_batched_gradients_are_those_of_each(loss, signals, scope, apart):
    x, y = signals

    def penalty(call):
        leaf = x.clone().requires_grad_()
        gradient = torch.autograd.grad(call(leaf, y), leaf, create_graph=True)[0]
        return gradient.detach(), torch.autograd.grad(gradient.square().sum(), leaf)[0]

    def batched(call):
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(
            call(leaf, y), leaf, torch.tensor([1.0, -2.0], device=x.device), is_grads_batched=True
        )

    loss(x.clone().requires_grad_(), y)
    for what in (penalty, batched):
        for got, expected in zip(what(loss), what(lambda *a: apart(loss, *a)), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert together() == 2


TRANSFORMED = {
    "vmap": lambda loss, x, y: torch.func.vmap(loss)(x[:, None], y[:, None]),
    "grad": lambda loss, x, y: torch.func.grad(loss)(x, y),
    "jvp": lambda loss, x, y: torch.func.jvp(lambda x: loss(x, y), (x,), (y,))[1],
}


@pytest.mark.thorough
@pytest.mark.parametrize("how", TRANSFORMED)
def test_under_transforms_each_is_for_itself(how, loss, signals, scope, apart):
    x, y = signals
    for _ in range(2):
        loss(x, y)
    expected = TRANSFORMED[how](lambda *a: apart(loss, *a), x, y)
    torch.testing.assert_close(TRANSFORMED[how](loss, x, y), expected)
    assert together() == 1


@pytest.mark.parametrize("changed", ["input", "target", "window"])
def test_what_may_be_changed_between_the_passes_is_what_torch_allows(changed, loss, signals, scope):
    x, y = signals
    expected = step(loss, x, y)[1]
    leaf = x.clone().requires_grad_()
    given = leaf * 1
    result = loss(given, y)
    assert result.grad_fn.name() == "_MeanBackward"
    with torch.no_grad():
        {"input": given, "target": y, "window": loss.stft_losses[1].window}[changed].mul_(2)
    if changed == "target":
        got = torch.autograd.grad(result, leaf)[0]
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))
    else:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(result, leaf)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_where_a_launch_fails_each_answers_for_itself(where, loss, signals, device_name, monkeypatch):
    x, y = signals
    with msp.accelerated(devices=(device_name,), verify="off"):
        expected = step(loss, x, y)
        step(loss, x, y)
        assert together() == 1

        def broken(*_):
            raise RuntimeError("a launch that fails")

        name = "run" if where == "forward" else "launched"
        monkeypatch.setattr(MeanOfLosses, name, broken)
        got = step(loss, x, y)
        for one, right in zip(got, expected, strict=True):
            torch.testing.assert_close(one, right, rtol=1e-5, atol=1e-6 * float(right.abs().max()))


def test_a_step_that_breaks_gives_one_warning_and_the_numbers(loss, signals, device_name, monkeypatch):
    x, y = signals
    with msp.accelerated(devices=(device_name,), verify="off"):
        expected = step(loss, x, y)
        monkeypatch.setattr(losses, "_known_mean", lambda *_: 1 / 0)
        with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
            got = step(loss, x, y)
        assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])


def test_after_disable_and_with_everything_forgotten_it_is_found_again(loss, signals, options, device_name):
    x, y = signals
    results = []
    for _ in range(2):
        with msp.accelerated(**options):
            results += [step(loss, x, y)[0] for _ in range(2)]
        kernels._mean_launch.cache_clear()
    for one in results:
        torch.testing.assert_close(one, results[0], rtol=3e-7, atol=0)
    assert together() == 3


def test_a_wrong_kernel_is_found_before_they_are_one(loss, signals, device_name, monkeypatch):
    x, y = signals
    real = kernels.stft_loss
    monkeypatch.setattr(kernels, "stft_loss", lambda *a: tuple(2 * one for one in real(*a)))
    expected = copy.deepcopy(loss).cpu()(x.cpu(), y.cpu()).to(x.device)  # on MPS it is fused without enable(), too
    with msp.accelerated(devices=(device_name,), verify="first"):
        with pytest.warns(RuntimeWarning, match="differs"):
            got = [loss(x, y) for _ in range(3)]
    for one in got:
        torch.testing.assert_close(one, expected)
    assert not together()
    quarantine.front_ends.clear()
    call_cache.clear()
