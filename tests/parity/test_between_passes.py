"""Between forward and backward pass: what a program may change in place, and whether first gradients can be
differentiated again, are as with torch's own functions."""

from __future__ import annotations

import itertools

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.front_ends import FrontEnd, Scale, compute

N_FFT, HOP = 64, 16


def both(call, on):
    """What torch's own functions give, then ours: not cached, and cached."""
    with msp.accelerated(devices=()):
        expected = call()
    with msp.accelerated(**on, verify="off"):
        return expected, [call() for _ in range(3)]


def outcome(call):
    try:
        return call()
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
        return "error"


@pytest.mark.parametrize("changed", ["window", "input"])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("win_length", [48, N_FFT])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant", "circular", "not centred", "istft"])
def test_what_may_be_changed_meanwhile_is_what_torch_allows(mode, win_length, learned, changed, on, torch_device):
    window_values = torch.rand(win_length, device=torch_device) + 0.5
    signal = torch.randn(2, 600, device=torch_device)
    spectrum = torch.randn(2, N_FFT // 2 + 1, 30, dtype=torch.complex64, device=torch_device)

    def call():
        source = (spectrum if mode == "istft" else signal).clone().requires_grad_()
        own = window_values.clone().requires_grad_(learned)
        input, window = source * 1, own * 1 if learned else own
        if mode == "istft":
            result = torch.istft(input, N_FFT, HOP, win_length, window)
        else:
            padded = {"center": False} if mode == "not centred" else {"pad_mode": mode}
            result = torch.stft(input, N_FFT, HOP, win_length, window, **padded, return_complex=True)
        with torch.no_grad():
            (window if changed == "window" else input).mul_(2)

        def gradients():
            wanted = [source, own] if learned else [source]
            return torch.autograd.grad(result.abs().square().sum(), wanted)

        return outcome(gradients)

    expected, all_got = both(call, on)
    for got in all_got:
        assert (got == "error") == (expected == "error")
        if got != "error":
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_the_short_window_of_a_front_end_may_be_changed_meanwhile(fused, torch_device):
    x, call = torch.randn(2, 600, device=torch_device), FrontEnd(N_FFT, HOP, 48, scale=Scale("clamp", 1e-5))

    def gradient(change, **how):
        source, window = x.clone().requires_grad_(), torch.hann_window(48, device=torch_device)
        result = compute.compute(source, window, None, call, **how)
        window.mul_(change)
        return torch.autograd.grad(result.sum(), source)[0]

    torch.testing.assert_close(gradient(2.0), gradient(1.0))
    torch.testing.assert_close(gradient(2.0), gradient(2.0, use_kernels=False), rtol=1e-3, atol=1e-3)


CASES = list(itertools.product(
    ["reflect", "replicate", "constant", "circular", "not centred"], [False, True], [False, True], [1, 2]
))  # fmt: skip


@pytest.mark.parametrize(("mode", "is_complex", "learned", "dimensions"), CASES)
def test_first_gradients_of_a_linear_loss_can_be_differentiated_where_torchs_can(
    mode, is_complex, learned, dimensions, on, torch_device
):
    padded = {"center": False} if mode == "not centred" else {"pad_mode": mode}
    source = torch.randn(*[2] * (dimensions - 1), 600, dtype=torch.complex64 if is_complex else None)
    source = source.to(torch_device).requires_grad_()
    window = torch.rand(48, device=torch_device).requires_grad_(learned)

    def call():
        result = torch.stft(source, N_FFT, HOP, 48, window, **padded, return_complex=True)
        first = torch.autograd.grad(torch.view_as_real(result).sum(), source, create_graph=True)[0]
        if not first.requires_grad:
            return False, None
        loss = first.abs().square().sum()
        second = torch.autograd.grad(loss, [source, window] if learned else [source], allow_unused=True)
        return True, [None if one is None else one.detach() for one in second]

    expected, all_got = both(call, on)
    for got in all_got:
        assert got[0] == expected[0]
        torch.testing.assert_close(got[1], expected[1], rtol=1e-3, atol=1e-2)
    if mode == "reflect" and not learned:
        assert expected[0] and not expected[1][0].any()
