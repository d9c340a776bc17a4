"""stft and istft that were called before are launched again at once, unless anything is different now."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch import guard, ready

N_FFT, HOP = 64, 16


@pytest.fixture
def window(torch_device):
    return torch.rand(N_FFT, device=torch_device) + 0.5


@pytest.fixture(params=["stft", "istft"])
def op(request):
    return request.param


@pytest.fixture
def used(monkeypatch):
    """Whether each call that got to the launch was ready."""
    seen = []
    call = ready.call

    def watched(*arguments):
        result = call(*arguments)
        seen.append(result is not None)
        return result

    monkeypatch.setattr(ready, "call", watched)
    return seen


def signal_for(op, device, rows=2, seconds=900):
    shape = () if rows is None else (rows,)
    if op == "stft":
        return torch.randn(*shape, seconds, device=device)
    return torch.randn(*shape, N_FFT // 2 + 1, 40, dtype=torch.complex64, device=device)


def call(op, x, window, **options):
    if op == "stft":
        return torch.stft(x, N_FFT, HOP, window=window, **{"return_complex": True, **options})
    return torch.istft(x, N_FFT, HOP, window=window, **options)


def agrees(op, x, window, **options):
    got = call(op, x, window, **options)
    with msp.accelerated(devices=()):
        wide = x.double() if op == "stft" else x.to(torch.complex128)
        right = call(op, wide, window if window is None else window.double(), **options)
    torch.testing.assert_close(got, right.to(got.dtype), rtol=1e-4, atol=1e-4)
    return got


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_the_second_call_is_ready_and_gives_the_same_bits(op, rows, window, used, on, torch_device):
    with msp.accelerated(**on):
        for _ in range(2):
            x = signal_for(op, torch_device, rows)
            ready.clear()
            first, second = agrees(op, x, window), agrees(op, x, window)
            assert torch.equal(first, second) and first.stride() == second.stride()
            assert first._is_view() == second._is_view()
    assert used == [False, True] * 2


@pytest.mark.parametrize("options", [{"return_complex": False}, {"window": None}])
def test_what_is_done_around_a_launch_is_done_again(options, window, used, on, torch_device):
    x = signal_for("stft", torch_device)
    options = {"window": window, "return_complex": True, **options}
    with msp.accelerated(**on):
        for _ in range(3):
            got = torch.stft(x, N_FFT, HOP, **options)
    with msp.accelerated(devices=()):
        right = torch.stft(x, N_FFT, HOP, **options)
    torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-4)
    assert used == [False, True, True] and got.stride() == right.stride()


@pytest.mark.parametrize("change", [
    lambda tensor: tensor.mul_(torch.linspace(0.5, 1, N_FFT, device=tensor.device)),
    lambda tensor: setattr(tensor, "data", tensor.data.flip(0) * 0.5),
])  # fmt: skip
def test_a_window_that_changes_is_read_anew(op, change, window, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on):
        agrees(op, x, window)
        change(window)
        agrees(op, x, window)


def test_a_window_that_learns_may_change_unseen(op, window, on, torch_device):
    x = signal_for(op, torch_device)
    window.requires_grad_()
    with msp.accelerated(**on), torch.no_grad():
        for _ in range(3):
            agrees(op, x, window)
            window.data.mul_(torch.linspace(0.5, 1, N_FFT, device=torch_device))


def test_other_layouts_are_other_calls(op, window, on, torch_device):
    x = signal_for(op, torch_device, rows=4)
    with msp.accelerated(**on):
        for _ in range(2):
            agrees(op, x, window)
            agrees(op, x[::2], window)
            agrees(op, x[..., 1:], window)
            agrees(op, x[1], window)
            agrees(op, -torch.randn_like(x), window)
            if op == "istft":
                agrees(op, x.conj(), window)


def test_gradients_are_wanted_now(op, window, used, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on):
        call(op, x, window)
        for learned in (x, window):
            learned.requires_grad_()
            result = call(op, x, window)
            assert result.requires_grad and used[-1] is False
            assert torch.autograd.grad(result.abs().sum(), learned)[0].abs().sum() > 0
            learned.requires_grad_(False)
        assert torch.func.vmap(lambda row: call(op, row, window))(x).shape == call(op, x, window).shape


def test_what_is_ready_is_compared_as_well(op, window, on, torch_device, monkeypatch):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="always"):
        right = call(op, x, window)
        monkeypatch.setattr(ready, "call", lambda *_: right * 2)
        with pytest.warns(RuntimeWarning, match="differs"):
            torch.testing.assert_close(call(op, x, window), right, rtol=1e-4, atol=1e-4)
    assert guard.quarantined


def test_a_launch_that_fails_is_left_to_the_whole_way(op, window, on, torch_device, monkeypatch):
    from mps_spectro_patch.kernels import real

    x = signal_for(op, torch_device)
    with msp.accelerated(**on):
        right = call(op, x, window)
        monkeypatch.setattr(real, "empty", lambda *_: 1 / 0)
        with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
            torch.testing.assert_close(call(op, x, window), right, rtol=1e-4, atol=1e-4)
    assert guard.quarantined
