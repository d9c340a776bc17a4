"""Filterbanks and windows that a function copies to its device in every call: copied once, as long as nobody can tell.
The device "meta" is another one than the CPU wherever this runs; its tensors have no values."""

from __future__ import annotations

import pytest
import torch

from mps_spectro_patch.compat.tools import copies, deferred

META = torch.device("meta")


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(copies, "_known", [])


def copied(source, name="a function", device=META):
    with deferred._Copies(name):
        return source.to(device)


@pytest.mark.parametrize("shape", [(80, 513), (1024,)])
def test_the_same_values_are_the_same_tensor(shape):
    source = torch.rand(shape)
    first = copied(source)
    assert first.device == META and copied(source.clone()) is first and copied(source) is first


@pytest.mark.thorough
@pytest.mark.parametrize("change", [
    lambda source: source + 1, lambda source: source[:, :20], lambda source: source.double(),
    lambda source: torch.where(source == 0, -0.0, source), lambda source: source.requires_grad_(),
    lambda source: source * float("nan"),
])  # fmt: skip
def test_other_values_are_another_tensor(change):
    source = torch.rand(40, 33)
    source[0, 0] = 0.0
    first = copied(source)
    changed = change(source.clone())
    other = copied(changed)
    assert other is not first and (other.shape, other.dtype) == (changed.shape, changed.dtype)


@pytest.mark.thorough
@pytest.mark.parametrize("write", [
    lambda copy: copy.mul_(2), lambda copy: copy.requires_grad_(), lambda copy: copy[0].zero_(),
    lambda copy: setattr(copy, "data", torch.empty(3, 4, device=META)),
    lambda copy: torch.utils.swap_tensors(copy, torch.empty(40, 33, device=META)),
])  # fmt: skip
def test_what_somebody_has_written_to_is_copied_anew(write):
    source = torch.rand(40, 33)
    first = copied(source)
    write(first)
    second = copied(source)
    assert second is not first and second.shape == source.shape and not second.requires_grad
    assert copied(source) is second


@pytest.mark.thorough
def test_nothing_is_shared_between_functions_devices_or_with_inference_mode():
    source = torch.rand(40, 33)
    first = copied(source)
    assert copied(source, "another function") is not first
    assert copied(source, device=torch.device("cpu")) is source
    with torch.inference_mode():
        inside = copied(source)
        assert inside.is_inference() and copied(source) is not inside
    assert copied(source) is first


@pytest.mark.thorough
def test_values_that_change_on_the_cpu_are_others():
    source = torch.rand(40, 33)
    first = copied(source)
    source.mul_(2)
    assert copied(source) is not first


@pytest.mark.thorough
def test_few_are_kept():
    made = [copied(torch.full((3, 4), float(number))) for number in range(9)]
    assert len(copies._known) == copies._KEPT and copied(torch.full((3, 4), 8.0)) is made[-1]
    assert copied(torch.zeros(3, 4)) is not made[0]


@pytest.mark.thorough
def test_copies_that_may_not_be_there_yet_and_other_arguments_are_torchs(monkeypatch):
    source = torch.rand(40, 33)
    with deferred._Copies("a function") as seen:
        source.to(META, non_blocking=True), source.to(device=META), source.to(META, torch.float64)
    assert not copies._known and not seen.noted
