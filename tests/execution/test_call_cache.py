"""stft and istft that were called before are launched again from the cache, unless anything is different now."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache, quarantine, runner
from mps_spectro_patch.kernels.launch import transforms
from mps_spectro_patch.kernels.tables.envelope import read_backs
from mps_spectro_patch.routing import decision as routing
from tests.precision import wide

from ..outputs import without_memory

N_FFT, HOP = 64, 16

pytestmark = pytest.mark.usefixtures("unsampled")


@pytest.fixture
def window(torch_device):
    return torch.rand(N_FFT, device=torch_device) + 0.5


@pytest.fixture
def used(monkeypatch):
    """For each call whether it was cached, or else went the full path."""
    seen = []
    launched, full_path = call_cache.launched, runner._full_path

    def watching(*arguments):
        result = launched(*arguments)
        if result is not None:
            seen.append(True)
        return result

    monkeypatch.setattr(call_cache, "launched", watching)
    monkeypatch.setattr(runner, "_full_path", lambda *arguments: seen.append(False) or full_path(*arguments))
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
        right = call(op, wide(x), window if window is None else wide(window), **options)
    torch.testing.assert_close(got, right.to(got), rtol=1e-4, atol=1e-4)
    return got


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_the_second_call_is_cached_and_gives_the_same_bits(op, rows, window, used, on, torch_device):
    with msp.accelerated(**on, verify="off"):
        for _ in range(2):
            x = signal_for(op, torch_device, rows)
            call_cache.clear()
            first, second = agrees(op, x, window), agrees(op, x, window)
            assert torch.equal(first, second) and first.stride() == second.stride()
            assert first._is_view() == second._is_view()
    assert used == [False, True] * 2 and msp.stats()[op].fast == 4


def test_the_first_call_is_compared_and_counts(op, window, used, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on):
        for _ in range(4):
            agrees(op, x, window)
    assert used == [False, True, True, True]
    assert (msp.stats()[op].fast, msp.stats()[op].verified) == (4, 1)
    msp.reset_stats()
    assert msp.stats()[op].fast == 0


@pytest.mark.parametrize("options", [{"return_complex": False}, {"window": None}])
def test_what_is_said_around_a_launch_is_said_every_time(options, window, used, on, torch_device):
    x = signal_for("stft", torch_device)
    options = {"window": window, "return_complex": True, **options}
    with msp.accelerated(**on, verify="off"):
        for _ in range(3):
            torch.stft(x, N_FFT, HOP, **options)
    assert True not in used


def test_arguments_of_other_types_are_other_calls(op, window, used, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="off"):
        for _ in range(2):
            call(op, x, window)
        with pytest.raises(TypeError):
            call(op, x, window, win_length=float(N_FFT))
        with pytest.raises(TypeError):
            call(op, x, window, normalized=[1])
    assert used[:2] == [False, True] and True not in used[2:]


@pytest.mark.parametrize("change", [
    lambda tensor: tensor.mul_(torch.linspace(0.5, 1, N_FFT, device=tensor.device)),
    lambda tensor: setattr(tensor, "data", tensor.data.flip(0) * 0.5),
])  # fmt: skip
def test_a_window_that_changes_is_read_anew(op, change, window, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="off"):
        agrees(op, x, window)
        change(window)
        agrees(op, x, window)


def test_a_call_is_cached_for_a_window_that_is_made_anew(op, used, on, torch_device):
    with msp.accelerated(**on, verify="off"):
        x = signal_for(op, torch_device)
        for _ in range(3):
            agrees(op, x, torch.rand(N_FFT, device=torch_device) + 0.5)
        assert used == [False, True, True]
        agrees(op, x, (torch.rand(N_FFT + 1, device=torch_device) + 0.5)[1:])  # not at an 8-byte boundary
        agrees(op, x, (torch.rand(2 * N_FFT, device=torch_device) + 0.5)[::2])
        agrees(op, x, torch._neg_view(torch.rand(N_FFT, device=torch_device) + 0.5))
        assert used[3:] == [False, False, False]
        x.requires_grad_()
        for _ in range(3):
            window = torch.rand(N_FFT, device=torch_device) + 0.5
            got = torch.autograd.grad(call(op, x, window).abs().square().sum(), x)[0]
            with msp.accelerated(devices=()):
                exact = wide(x).requires_grad_()
                right = torch.autograd.grad(call(op, exact, wide(window)).abs().square().sum(), exact)[0].to(x)
            assert (got - right).norm() < 1e-5 * right.norm()
        assert used[6:] == [False, True, True]


def test_a_window_is_read_back_once(used, on, torch_device):
    x = signal_for("istft", torch_device).requires_grad_()
    windows = [torch.rand(N_FFT, device=torch_device) + 0.5 for _ in range(3)]
    with msp.accelerated(**on, verify="off"):
        before = read_backs()
        for window in windows * 3:
            result = call("istft", x, window)
            torch.autograd.grad(result.sum(), x)
        with torch.no_grad():
            for window in windows:
                call("istft", x, window)
        gaps = torch.rand(2 * N_FFT, device=torch_device)[::2] + 0.5
        wide = torch.stack([gaps, gaps], 1)[:, 0]
        assert not wide.is_contiguous()
        for _ in range(3):
            torch.autograd.grad(call("istft", x, wide).sum(), x)
    assert read_backs() - before == len(windows) + 1


@pytest.mark.parametrize("learns", [False, True])
def test_a_window_that_cannot_be_inverted_gets_torchs_error_when_cached_too(learns, window, used, on, torch_device):
    x = signal_for("istft", torch_device).requires_grad_(learns)
    with msp.accelerated(**on, verify="off"):
        for _ in range(2):
            call("istft", x, window)
        with pytest.raises(RuntimeError, match="window overlap add min"):
            call("istft", x, torch.zeros_like(window))
        window.zero_()
        with pytest.raises(RuntimeError, match="window overlap add min"):
            call("istft", x, window)
    assert used == [False, True, False, False] and msp.stats()["istft"].fallback == {"nola": 2}


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
    with msp.accelerated(**on, verify="off"):
        call(op, x, window)
        assert torch.equal(call(op, x, window), call(op, x, window)) and used[-1] is True
        for learned in (x, window):
            learned.requires_grad_()
            result = call(op, x, window)
            assert result.requires_grad and used[-1] is False
            assert torch.autograd.grad(result.abs().sum(), learned)[0].abs().sum() > 0
            learned.requires_grad_(False)
        assert torch.func.vmap(lambda row: call(op, row, window))(x).shape == call(op, x, window).shape


def test_a_scope_of_its_own_for_every_call_is_no_hindrance(op, window, used, on, torch_device):
    x = signal_for(op, torch_device)
    for _ in range(4):
        with msp.accelerated(**on):
            agrees(op, x, window)
    assert used == [False, True, True, True]


def test_every_call_is_compared_where_that_is_asked_for(op, window, used, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="off"):
        for _ in range(2):
            call(op, x, window)
    with msp.accelerated(**on, verify="always"):
        for _ in range(3):
            call(op, x, window)
    assert used == [False, True, False, False, False] and msp.stats()[op].verified == 3


def test_a_plan_that_is_put_aside_is_not_cached_any_more(op, window, used, on, torch_device):
    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="off"):
        for _ in range(2):
            call(op, x, window)
        decision = routing.decide(op, ("is_cpu", "is_cuda", "is_mps"), _raw(op, x, window))
        with pytest.warns(RuntimeWarning, match="not accelerated again"):
            quarantine.put_plan((decision.plan, x.device, decision.way), "a test", "was told so")
        call(op, x, window)
    assert used == [False, True, False] and msp.stats()[op].fallback == {"quarantined": 1}


def _raw(op, x, window):
    if op == "stft":
        return x, N_FFT, HOP, None, window, True, "reflect", False, None, True, None
    return x, N_FFT, HOP, None, window, True, False, None, None, False


def test_a_launch_that_fails_is_left_to_the_full_path(op, window, on, torch_device, monkeypatch):
    from mps_spectro_patch.kernels.launch import smooth_size

    x = signal_for(op, torch_device)
    with msp.accelerated(**on, verify="off"):
        right = [call(op, x, window) for _ in range(2)][0]
        without_memory(monkeypatch, smooth_size, error=ZeroDivisionError())
        with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
            torch.testing.assert_close(call(op, x, window), right, rtol=1e-4, atol=1e-4)
    assert quarantine.plans


def test_the_launch_of_the_first_call_is_the_one_that_is_kept(op, window, on, torch_device, monkeypatch):
    made = []
    name = f"ready_{op}"
    real = getattr(transforms, name)
    monkeypatch.setattr(transforms, name, lambda *given: made.append(op) or real(*given))
    x = signal_for(op, torch_device)
    with msp.accelerated(**on):
        for _ in range(3):
            agrees(op, x, window)
    assert made == [op]


def test_a_window_that_was_used_can_be_swapped(window, on, torch_device):
    """torch refuses that for tensors that somebody refers to weakly."""
    x, other = signal_for("stft", torch_device), torch.rand(N_FFT, device=torch_device)
    with msp.accelerated(**on):
        for _ in range(2):
            call("stft", x, window)
        torch.utils.swap_tensors(window, other)
        agrees("stft", x, window)


def test_entries_are_few(op, window, on, torch_device, monkeypatch):
    monkeypatch.setattr(call_cache, "LIMIT", 5)
    with msp.accelerated(**on, verify="off"):
        for extra in range(12):
            call(op, signal_for(op, torch_device, rows=1 + extra), window)
            assert 0 < len(call_cache.entries) <= 5


def test_an_answer_from_before_a_change_is_remembered_for_nobody(op, window, used, on, torch_device, monkeypatch):
    """A plan is put aside by another thread while a call of it is on its way."""
    x = signal_for(op, torch_device)
    real = runner._launched
    with msp.accelerated(**on, verify="off"):
        monkeypatch.setattr(runner, "_launched", lambda *given: call_cache.clear() or real(*given))
        call(op, x, window)
        assert not call_cache.entries
        monkeypatch.setattr(runner, "_launched", real)
        call(op, x, window)
    assert used == [False, False]
