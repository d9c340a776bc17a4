"""status(): says why calls are not fast: torch.stft was replaced, names are missed, tensors are elsewhere."""

from __future__ import annotations

import functools

import pytest
import torch

import mps_spectro_patch as msp

OWN = torch.stft


@pytest.fixture(autouse=True)
def _as_before():
    yield
    torch.stft = OWN
    msp.disable()


def a_hop_to_the_cpu(input, *args, **kwargs):
    return OWN(input.cpu(), *args, **kwargs)


def test_somebody_who_replaced_it_after_enable_is_named(device_name):
    msp.enable(devices=(device_name,))
    torch.stft = a_hop_to_the_cpu
    state = msp.status().patched["stft"]
    assert state.startswith(f"not patched: replaced by {__name__}.a_hop_to_the_cpu ({__file__}:")
    assert state.endswith(") after enable()") and f"torch.stft: {state}" in str(msp.status())
    assert msp.status().patched["istft"] == "patched"


def test_torchs_own_function_put_back_is_named(device_name):
    msp.enable(devices=(device_name,))
    torch.stft = OWN
    assert msp.status().patched["stft"] == "not patched: replaced by torch.functional.stft after enable()"
    msp.disable()
    assert msp.status().patched["stft"] == "not patched"


def test_a_wrapper_that_calls_ours_is_named_with_its_line(device_name):
    msp.enable(devices=(device_name,))
    below = torch.stft

    @functools.wraps(below)
    def wrapper(*args, **kwargs):
        return below(*args, **kwargs)

    torch.stft = wrapper
    assert f"patched, below torch.stft ({__file__}:" in msp.status().patched["stft"]


def test_nothing_is_said_to_be_replaced_where_nothing_is_enabled():
    torch.stft = a_hop_to_the_cpu
    assert msp.status().patched["stft"] == "not patched"
