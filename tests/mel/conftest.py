"""Launches of the feature kernels, counted."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import front_end_runner, ready
from mps_spectro_patch.kernels.launch import any_size, dispatch, feature_passes, features, smooth_size


@pytest.fixture(autouse=True)
def _guard_starts_anew():
    yield
    assert not front_end_runner._refused, front_end_runner._refused
    for known in (front_end_runner._used, front_end_runner._verified, front_end_runner._refused):
        known.clear()


@pytest.fixture
def fused(device_name):
    """A scope in which front ends are fused on the device under test, and nothing is forgiven."""
    with msp.accelerated(devices=(device_name,), on_error="raise", verify="off"):
        yield


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
        for module in (features, feature_passes, smooth_size, any_size)
        for value in vars(module).values()
        if hasattr(value, "cache_clear") and value.__module__ == module.__name__
    ]
    for cache in caches:
        cache.cache_clear()
    ready.clear()  # which holds launches that are not counted
    monkeypatch.setattr(dispatch, "recipe", counting)
    yield counted
    for cache in caches:
        cache.cache_clear()
