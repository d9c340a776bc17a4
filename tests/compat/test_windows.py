"""Windows are copied to a device once, as long as they are what they were. (The meta device is always there.)"""

from __future__ import annotations

import functools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mps_spectro_patch.compat.tools import windows

META, CPU = torch.device("meta"), torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh():
    windows._hann_windows.clear()
    yield
    windows._hann_windows.clear()


def test_a_window_is_copied_once_for_each_device():
    window = torch.hann_window(16)
    assert windows.copied(window, META) is windows.copied(window, META)
    assert windows.copied(window, META).device == META
    assert windows.copied(window, CPU) is window


def test_a_window_that_was_changed_is_copied_again():
    window = torch.hann_window(16)
    first = windows.copied(window, META)
    window.mul_(2)
    assert windows.copied(window, META) is not first


def test_copies_go_with_their_windows():
    for _ in range(500):
        windows.copied(torch.hann_window(16), META)
    assert len(windows._copies) < 100


@pytest.mark.parametrize("change", [
    lambda window: torch.utils.swap_tensors(window, torch.ones(24)),
    lambda window: setattr(window, "data", torch.ones(24)),
])  # fmt: skip
def test_a_window_that_was_copied_can_be_exchanged(change):
    window = torch.hann_window(16)
    windows.copied(window, META)
    change(window)
    assert windows.copied(window, META).shape == (24,)


def test_windows_that_belong_to_autograd_or_to_inference_are_not_kept():
    learned = torch.ones(16, requires_grad=True)
    assert windows.copied(learned, META) is not windows.copied(learned, META)
    with torch.inference_mode():
        passing = torch.ones(16)
    assert windows.copied(passing, META) is not windows.copied(passing, META)


def test_hann_windows_are_those_of_the_expressions_they_stand_for():
    like = torch.ones(1, dtype=torch.float64)
    assert torch.equal(windows.hann(16, like), torch.hann_window(16).to(like))
    assert torch.equal(windows.made(functools.partial(torch.hann_window, 16), CPU), torch.hann_window(16))
    assert windows.hann(16, like) is windows.hann(16, like) is not windows.hann(17, like)


def test_a_window_kept_in_inference_mode_can_be_saved_for_a_backward_pass():
    with torch.inference_mode():
        window = windows.hann(16, torch.ones(1))
    assert not window.is_inference()


def test_other_makers_of_windows_are_called_each_time():
    calls = []
    windows.made(lambda: calls.append(1) or torch.ones(4), CPU)
    windows.made(functools.partial(torch.hamming_window, 4), CPU)
    assert len(calls) == 1 and not windows._hann_windows


def test_a_fake_window_does_not_outlive_its_mode():
    with FakeTensorMode():
        windows.hann(16, torch.ones(1))
    assert not windows._hann_windows
    assert torch.equal(windows.hann(16, torch.ones(1)), torch.hann_window(16))


def test_compiled_code_makes_its_own():
    compiled = torch.compile(lambda x: x * windows.hann(16, x), fullgraph=True, backend="eager")
    assert torch.equal(compiled(torch.ones(16)), torch.hann_window(16))
    assert not windows._hann_windows
