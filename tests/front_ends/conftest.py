"""Launches of the feature kernels, counted; what tests of losses begin with."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache, quarantine
from mps_spectro_patch.kernels.launch import any_size, dispatch, feature_passes, features, kaldi, smooth_size, stft_loss


@pytest.fixture(autouse=True)
def _guard_starts_anew():
    yield
    assert not quarantine.front_ends, quarantine.front_ends


@pytest.fixture
def launches(monkeypatch):
    """The groups of every launch so far, by this package's kernels."""
    counted: list[int] = []
    recipe = dispatch.recipe

    def counting(compiled, args, groups, threads, device):
        launched = recipe(compiled, args, groups, threads, device)

        def launch_and_count(*tensors: torch.Tensor) -> None:
            counted.append(groups)
            launched(*tensors)

        return launch_and_count

    caches = [
        value
        for module in (features, feature_passes, kaldi, smooth_size, any_size, stft_loss)
        for value in vars(module).values()
        if hasattr(value, "cache_clear") and value.__module__ == module.__name__
    ]
    for cache in caches:
        cache.cache_clear()
    call_cache.clear()  # which holds launches that are not counted
    monkeypatch.setattr(dispatch, "recipe", counting)
    yield counted
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def options(device_name):
    return dict(devices=(device_name,), on_error="raise", verify="off")


@pytest.fixture
def scope(options):
    with msp.accelerated(**options):
        yield


@pytest.fixture
def signals(torch_device):
    """Input and target that differ in loudness by the sample, so that few bins are equally loud in both."""
    x, y = torch.randn(2, 3, 2, 500)
    return x.to(torch_device), (y * torch.linspace(0.2, 3, 500)).to(torch_device)
