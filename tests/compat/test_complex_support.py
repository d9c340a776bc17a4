"""Whether torch has the complex operations on a device: asked once, without traces, and only of torch."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mps_spectro_patch.compat.tools import complex_support


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """The devices that were asked."""
    asked, real = [], complex_support._do_all
    monkeypatch.setattr(complex_support, "_supported", {})
    monkeypatch.setattr(complex_support, "_do_all", lambda device: asked.append(device) or real(device))
    return asked


def test_cpu_and_cuda_have_them_and_directml_has_not_without_being_asked(asked):
    assert complex_support.stays(torch.device("cpu")) and complex_support.stays(torch.device("cuda"))
    assert not complex_support.stays(torch.device("privateuseone:0"))
    assert not asked


def test_what_is_asked_is_what_torch_can_on_the_cpu():
    complex_support._do_all(torch.device("cpu"))
    assert complex_support._can(torch.device("cpu"))


def test_a_device_is_asked_once(asked):
    device = torch.device("xpu:0")  # is not here
    assert not complex_support.stays(device) and not complex_support.stays(device)
    assert asked == [device]


@pytest.mark.parametrize("operation", ["scatter_add_", "cpu"])
def test_an_operation_that_is_missing_is_a_no(monkeypatch, operation):
    def missing(*arguments, **options):
        raise NotImplementedError("not on this device")

    monkeypatch.setattr(torch.Tensor, operation, missing)
    assert not complex_support._can(torch.device("cpu"))


def test_no_random_number_is_drawn():
    before = torch.get_rng_state()
    complex_support._can(torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_answer_about_fake_tensors_is_not_kept(asked):
    with FakeTensorMode():
        complex_support.stays(torch.device("xpu:0"))
    assert len(asked) == 1 and not complex_support._supported
