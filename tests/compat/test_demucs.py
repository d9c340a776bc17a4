"""The hooks of PyPI's demucs and of demucs-infer on stand-ins: every form in which the decision was published."""

from __future__ import annotations

import importlib

import pytest
import torch

import mps_spectro_patch as msp

from . import stand_in
from .transfers import others, windows

FORMS = {
    "4.0": "is_mps = {}.device.type == 'mps'",
    "4.0, its models": 'is_mps = {}.device.type == "mps"',
    "4.1": "is_mps_xpu = {}.device.type in ['mps', 'xpu']",
    "4.1, its models": 'is_mps_xpu = {}.device.type in ["mps", "xpu"]',
}
FAKE = dict(devices=("mps", "simulator"), on_error="raise", on_fallback="raise")


@pytest.mark.parametrize("package", ["demucs", "demucs_infer"])
@pytest.mark.parametrize("form", FORMS)
def test_spectra_stay_on_the_device(project_folder, fake_mps, form, package):
    stand_in.write_pypi_demucs(project_folder / package, FORMS[form])
    model = importlib.import_module(f"{package}.htdemucs").HTDemucs()
    with fake_mps:
        audio = torch.ones(2, 100, device="mps")
        with msp.accelerated(**FAKE, compat=False):
            without = model(audio)
            assert sum(others(fake_mps.take()).values()) == 4
        with msp.accelerated(**FAKE, compat=("demucs",)):
            model(audio)
            assert windows(fake_mps.take()) == 1
            result = model(audio)
            assert not fake_mps.take()
    assert (result.shape, result.device) == (without.shape, without.device)


@pytest.mark.parametrize("compat", [("demucs",), ("audio_separator",), None])
def test_the_top_level_package_belongs_to_both_projects(project_folder, device_name, torch_device, compat):
    stand_in.write_pypi_demucs(project_folder / "demucs", FORMS["4.1"])
    spec = importlib.import_module("demucs.spec")
    original = spec.spectro
    msp.enable(devices=(device_name,), compat=compat)
    model = importlib.import_module("demucs.hdemucs")
    assert spec.spectro is model.spectro is not original
    got = model.HDemucs()(torch.ones(2, 100, device=torch_device))
    states = msp.status().projects
    assert all("demucs.spec.spectro" in states[name] for name in compat or ("demucs", "audio_separator"))
    msp.disable()
    assert spec.spectro is model.spectro is original
    torch.testing.assert_close(got, model.HDemucs()(torch.ones(2, 100, device=torch_device)), rtol=1e-5, atol=1e-5)


def test_a_module_under_another_projects_name_is_not_what_is_waited_for(project_folder, device_name, monkeypatch):
    """demucs-infer puts its modules under the names of demucs, too, for checkpoints."""
    import sys

    stand_in.write_pypi_demucs(project_folder / "demucs_infer", FORMS["4.0"])
    msp.enable(devices=(device_name,))
    spec = importlib.import_module("demucs_infer.spec")
    monkeypatch.setitem(sys.modules, "demucs.spec", spec)
    state = msp.status().projects["demucs"]
    assert "demucs_infer.spec.spectro" in state and " demucs.spec.spectro" not in state and "not patched" not in state
