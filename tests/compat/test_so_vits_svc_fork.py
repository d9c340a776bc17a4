"""so-vits-svc-fork replaces torch.stft when a training on MPS starts; on a stand-in that does the same."""

from __future__ import annotations

import importlib

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.compat.tools import complex_support

from . import stand_in
from .transfers import moved_in_name, others

FAKE = dict(devices=("mps", "simulator"), on_error="raise", on_fallback="raise")


@pytest.fixture
def train(project_folder):
    stand_in.write_so_vits(project_folder)
    torchs = torch.stft
    yield importlib.import_module("so_vits_svc_fork.train")
    msp.disable()
    torch.stft = torchs


def start(train, device="cpu", accelerator="MPSAccelerator", precision="32"):
    model = train.VitsLightning(getattr(train, accelerator, object)(), precision).to(device)
    model.on_train_start()
    return model


def spectrum(device):
    window = torch.ones(16, device=device)
    x = torch.arange(200, dtype=torch.float32, device=device).sin().reshape(2, 100)
    return torch.stft(x, 16, 4, window=window, return_complex=True)


def transfers(train, fake_mps) -> dict:
    with fake_mps:
        moved_in_name(train.VitsLightning(train.MPSAccelerator())).on_train_start()
        fake_mps.take()
        assert spectrum("mps").device.type == "mps"
        return others(fake_mps.take())


@pytest.mark.thorough
def test_a_training_on_mps_stays_on_the_device(train, fake_mps):
    msp.enable(**FAKE, compat=False)
    assert sorted(one.way for one in transfers(train, fake_mps)) == ["cpu to mps", "mps to cpu"]


@pytest.mark.thorough
@pytest.mark.parametrize("enabled", ["before the training", "after it has started"])
def test_it_does_not_matter_when_the_training_starts(enabled, train, fake_mps):
    if enabled == "before the training":
        msp.enable(**FAKE)
        assert not transfers(train, fake_mps)
        return
    with fake_mps:
        moved_in_name(train.VitsLightning(train.MPSAccelerator())).on_train_start()
    theirs = torch.stft
    assert "on_train_start" in theirs.__qualname__
    msp.enable(**FAKE)
    with fake_mps:
        assert spectrum("mps").device.type == "mps" and not others(fake_mps.take())
    msp.disable()
    assert torch.stft is theirs


def test_torchs_name_stays_ours_and_disable_leaves_torchs_own(train, torch_device, device_name):
    torchs, original = torch.stft, vars(train.VitsLightning)["on_train_start"]
    expected = spectrum(torch_device)
    msp.enable(devices=(device_name,), on_error="raise")
    ours = torch.stft
    assert "on_train_start" in msp.status().projects["so_vits_svc_fork"]
    start(train, torch_device)
    assert torch.stft is ours
    torch.testing.assert_close(spectrum(torch_device), expected, rtol=1e-5, atol=1e-5)
    msp.disable()
    assert torch.stft is torchs and vars(train.VitsLightning)["on_train_start"] is original


@pytest.mark.thorough
@pytest.mark.parametrize("why", ["TPU", "bfloat16", "another device", "compat is off"])
def test_other_trainings_start_as_they_did(why, train, torch_device, device_name):
    other = "simulator" if torch_device.type == "mps" else "mps"
    compat = False if why == "compat is off" else None
    msp.enable(devices=(other if why == "another device" else device_name,), compat=compat)
    start(train, torch_device, {"TPU": "TPUAccelerator", "bfloat16": "none"}.get(why, "MPSAccelerator"), "bf16-mixed")
    assert torch.stft.__qualname__.endswith("on_train_start.<locals>.stft")
    assert ("float" in torch.stft.__code__.co_names) == (why == "bfloat16")


@pytest.mark.thorough
def test_where_torch_has_no_complex_operations_it_goes_over_the_cpu_as_before(train, fake_mps, monkeypatch):
    monkeypatch.setattr(complex_support, "_supported", {torch.device("mps:0"): False})
    msp.enable(**FAKE)
    assert sorted(one.way for one in transfers(train, fake_mps)) == ["cpu to mps", "mps to cpu"]


@pytest.mark.thorough
def test_a_training_on_another_gpu_starts_as_it_did(train, torch_device, device_name):
    msp.enable(devices=(device_name,))
    ours = torch.stft
    start(train, torch_device, "none", "16-mixed")
    assert torch.stft is ours


@pytest.mark.thorough
def test_an_unknown_version_is_left_alone_and_named(project_folder, train):
    file = project_folder / "so_vits_svc_fork" / "train.py"
    file.write_text(file.read_text().replace("(TPUAccelerator, MPSAccelerator)", "(MPSAccelerator, TPUAccelerator)"))
    train = importlib.reload(train)
    original = vars(train.VitsLightning)["on_train_start"]
    msp.enable(devices=("mps",))
    assert vars(train.VitsLightning)["on_train_start"] is original
    assert "is written in another way" in msp.status().projects["so_vits_svc_fork"]


@pytest.mark.thorough
@pytest.mark.parametrize("reach, fast", [("attribute", 0), ("references", 1)])
def test_a_training_in_bfloat16_reaches_us_by_torch_functional(reach, fast, train, torch_device, device_name, launches):
    """Their function at torch.stft calls torch.functional.stft."""
    expected = spectrum(torch_device)
    msp.enable(devices=(device_name,), reach=reach, verify="off", on_error="raise")
    start(train, torch_device, "none", "bf16-mixed")
    got = spectrum(torch_device)
    assert len(launches) == fast
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
