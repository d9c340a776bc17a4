"""The operator that has the mean of several STFT losses: in compiled code, by itself, its gradients, its failures."""

# ruff: noqa: F811  (fixtures)
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import mps_spectro_patch as msp
from mps_spectro_patch.arguments import losses_of
from mps_spectro_patch.execution import launches
from mps_spectro_patch.kernels.tables import windows as tables
from mps_spectro_patch.ops.mean_of_losses import MeanOfLosses

from .several_losses import SIZES, agree, as_auraloss, compiled, counts, of_two_sums, signals, windows  # noqa: F401  (fixtures)

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("program", [as_auraloss, of_two_sums], ids=lambda one: one.__name__)
def test_traced_for_its_gradient_it_is_two(program, signals, windows, compiled):
    function = compiled(program, traced=True)
    for _ in range(2):
        agree(function, program, *signals, windows)
    with torch.no_grad():
        torch.testing.assert_close(function(*signals, windows), program(*signals, windows), rtol=1e-4, atol=1e-6)


def test_sizes_that_vary_are_one_graph(torch_device, windows, compiled):
    function = compiled(as_auraloss, traced=True, dynamic=True)
    for rows, samples in ((2, 500), (3, 611), (5, 1200)):
        signals = (torch.randn(rows, 1, samples).to(torch_device) for _ in range(2))
        agree(function, as_auraloss, *signals, windows)
    assert [counts(one) for one in function.found] == [(1, 0)]


def test_windows_are_filled_up_once(signals, windows, compiled, monkeypatch):
    function, made = compiled(as_auraloss, traced=True), []
    monkeypatch.setattr(tables, "pad", lambda *given: made.append(given) or F.pad(*given))
    for _ in range(3):
        agree(function, as_auraloss, *signals, windows)
    assert len(made) == sum(n_fft != win_length for n_fft, _, win_length in SIZES)


def test_layouts_and_places_in_memory_are_looked_at(signals, windows, compiled):
    function = compiled(as_auraloss, traced=True, dynamic=True)
    long = torch.randn(2, 1, 1003).to(signals[0].device)
    for x, y in (
        signals,
        (long[..., 1:501], signals[1]),
        (long[..., ::2], long[..., :502]),
        (signals[0], long[..., 3:503]),
    ):
        agree(function, as_auraloss, x, y, windows)


def test_the_operators_take_bits_and_say_what_they_give(torch_device):
    ops = launches.ops
    if ops is None:
        launches.load_operators()
        ops = launches.ops
    calls = losses_of(repr([(*sizes, sizes[0] // 2, "reflect", 1.0, 1.0, 0.5, 1e-7, 1.0, 0.0, False, per_row, True)
                            for sizes, per_row in zip(SIZES, (False, True, False), strict=True)]))  # fmt: skip
    text = repr([tuple(one) for one in calls])
    x, y = torch.randn(2, 3, 2, 400).to(torch_device)
    y = y * torch.linspace(0.2, 3, 400).to(torch_device)
    windows = [torch.hann_window(one.win_length, device=torch_device) for one in calls]
    together, composite = ops.losses_together, ops.composite_losses
    mean, kept = together.stft_losses(x, y, windows, text)
    right, worth = composite.mean_with_worth(x, y, windows, calls)
    torch.testing.assert_close(mean, right, rtol=1e-4, atol=0)
    torch.testing.assert_close(kept, worth, rtol=1e-3, atol=1e-6)
    turned = torch._neg_view(-x)
    torch.testing.assert_close(together.stft_losses(turned, y, windows, text)[0], mean, rtol=0, atol=0)
    upstream = torch.tensor(-2.0, device=torch_device)
    gradient = together.stft_losses_gradient(upstream, kept, x, y, windows, text)
    right = composite.gradients_of_mean(upstream, x, y, windows, calls)[0]
    assert float((gradient - right).norm()) < 5e-3 * float(right.norm())
    torch.library.opcheck(together.stft_losses, (x, y, windows, text), test_utils=("test_schema", "test_faketensor"))
    given = upstream, kept, x, y, windows, text
    torch.library.opcheck(together.stft_losses_gradient, given, test_utils=("test_schema", "test_faketensor"))


def test_the_operator_has_all_first_derivatives_and_refuses_a_second(torch_device):
    launches.load_operators()
    ops = launches.ops
    calls = losses_of(repr([(*sizes, sizes[0] // 2, "reflect", 1.0, 1.0, 0.0, 1e-7, 1.0, 0.0, False, False, True)
                            for sizes in SIZES[:2]]))  # fmt: skip
    tensors = [
        torch.randn(2, 300),
        torch.randn(2, 300) * torch.linspace(0.2, 3, 300),
        torch.rand(48) + 0.5,
        torch.rand(30) + 0.5,
    ]
    given = [one.to(torch_device).requires_grad_() for one in tensors]
    x, y, *windows = given
    upstream = torch.ones(()).to(torch_device).requires_grad_()
    mean = ops.losses_together.mean_of_losses(x, y, windows, repr([tuple(one) for one in calls]))
    found = torch.autograd.grad(mean, given, upstream, create_graph=True)
    right = ops.composite_losses.gradients_of_mean(upstream.detach(), x, y, windows, calls)
    for got, want in zip(found, right, strict=True):
        assert float((got - want).detach().norm()) < 5e-3 * float(want.detach().norm())
    with pytest.raises(RuntimeError, match="once_differentiable"):
        found[0].sum().backward()


@pytest.mark.parametrize("part", ["run", "run_gradient"])
def test_a_kernel_that_fails_in_compiled_code_is_made_of_torchs_functions(
    part, signals, windows, compiled, device_name, monkeypatch
):
    def broken(*_):
        raise RuntimeError("broken")

    function = compiled(as_auraloss, traced=True)
    agree(function, as_auraloss, *signals, windows)
    msp.enable(devices=[device_name])
    monkeypatch.setattr(MeanOfLosses, part, broken)
    with pytest.warns(RuntimeWarning, match="broken"):
        agree(function, as_auraloss, *signals, windows)
