"""Copies of Ultimate Vocal Remover's class STFT, under a name that nobody knows: what stays on the device."""

from __future__ import annotations

import importlib

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.compat.tools import complex_support

from . import stand_in
from .transfers import others, windows

# As UVR and most write it; as Demucs' port for drums does; as Vietnamese-RVC does.
FORMS = (
    'not {}.device.type in ["cuda", "cpu"]',
    '{}.device.type not in ["cuda", "cpu"]',
    'not {}.device.type in ["cuda", "xpu", "cpu"]',
)
FAKE = dict(devices=("mps", "simulator"), on_error="raise", on_fallback="raise")
WAYS = {"forward": lambda stft: stft, "inverse": lambda stft: stft.inverse}


@pytest.fixture
def written(project_folder):
    """written(form, is_mdx, *changes): the stand-in's module, imported."""

    def write(form=FORMS[0], is_mdx=False, *changes):
        file = project_folder / "mdx_of_somebody.py"
        stand_in.write_uvr(file, form, is_mdx)
        text = file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module("mdx_of_somebody")

    return write


def signal(way: str, device) -> torch.Tensor:
    shape = (2, 8, 26, 2) if way == "inverse" else (2, 100)
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).sin().reshape(shape).to(device)


def transfers(function, x, fake_mps, calls=2) -> list:
    seen = []
    for _ in range(calls):
        fake_mps.take()
        assert function(x).device.type == "mps"
        seen.append(fake_mps.take())
    return seen


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_mdx", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_signals_stay_on_the_device_and_windows_are_copied_once(form, is_mdx, way, written, fake_mps):
    module = written(form, is_mdx)
    with fake_mps:
        function, x = WAYS[way](module.STFT("mps")), signal(way, "mps")
        with msp.accelerated(**FAKE, compat=False):
            assert all(others(one) for one in transfers(function, x, fake_mps)), "the stand-in does not hop"
        with msp.accelerated(**FAKE):
            first, second = transfers(WAYS[way](module.STFT("mps")), x, fake_mps)
    assert not others(first) and windows(first) <= 1 and not second


@pytest.mark.parametrize("is_mdx, way", [
    (False, "forward"), *(pytest.param(*one, marks=pytest.mark.thorough) for one in [
        (False, "inverse"), (True, "forward"), (True, "inverse"),
    ]),
])  # fmt: skip
def test_numbers_are_the_same_and_disable_restores_by_identity(is_mdx, way, written, device_name, torch_device):
    module = written(FORMS[0], is_mdx)
    names = [name for name in ("__call__", "inverse", "pad_frequency_dimension") if name in vars(module.STFT)]
    originals = [vars(module.STFT)[name] for name in names]
    expected = WAYS[way](module.STFT(torch_device))(signal(way, torch_device))
    msp.enable(devices=(device_name,), on_error="raise")
    got = WAYS[way](module.STFT(torch_device))(signal(way, torch_device))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    state = msp.status().projects["uvr"]
    assert state.startswith("applied") and all(f"mdx_of_somebody.STFT.{name}" in state for name in names)
    assert all(vars(module.STFT)[name] is not one for name, one in zip(names, originals, strict=True))
    msp.disable()
    assert [vars(module.STFT)[name] for name in names] == originals


@pytest.mark.thorough
@pytest.mark.parametrize("no", ["no complex operations", "results belong on the CPU"])
def test_what_cannot_or_must_not_stay_goes_over_the_cpu_as_before(no, written, fake_mps, monkeypatch):
    stft = written().STFT("mps" if no == "no complex operations" else "cpu")
    monkeypatch.setattr(complex_support, "_supported", {torch.device("mps:0"): no != "no complex operations"})
    seen = []
    with fake_mps:
        for compat in (False, ("uvr",)):
            with msp.accelerated(**FAKE, compat=compat):
                fake_mps.take()
                result = stft(signal("forward", "mps"))
                seen.append((result.device.type, others(fake_mps.take())))
    assert seen[0] == seen[1] and seen[0][1]


def test_a_copy_that_is_imported_later_is_found_at_its_first_call(written, fake_mps):
    """Though torch.stft gets that call on the CPU, which no kernel is for."""
    msp.enable(devices=("mps",))
    msp.reset_stats()  # all of the first calls are looked at
    stft = written().STFT("mps")
    original = vars(type(stft))["__call__"]
    with fake_mps:
        first, second = transfers(stft, signal("forward", "mps"), fake_mps)
    assert vars(type(stft))["__call__"] is not original and others(first) and not others(second)
    assert "mdx_of_somebody.STFT.inverse" in msp.status().projects["uvr"]


NEAR_MISSES = {
    "another list of devices": ('["cuda", "cpu"]', '["cuda", "npu", "cpu"]'),
    "a window made elsewhere": ("self.window.to(x.device)", "self.window.to(x)"),
    "a second step on the CPU": ("            x = x.cpu()\n", "            x = x.cpu()\n            x = x * 2\n"),
    "another step on the CPU": ("x = x.cpu()", "x = x.cpu().double()"),
    "something else instead": (
        "            x = x.cpu()\n",
        "            x = x.cpu()\n        else:\n            x = x + 0\n",
    ),
    "a result that does not go back": ("spectrum = spectrum.to(self.device)", "spectrum = spectrum.to('mps')"),
    "asked once more": ("        return spectrum\n", "        return (spectrum, x_is_mps)\n"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("change", NEAR_MISSES)
def test_a_near_miss_is_left_alone_and_named(change, written):
    module = written(FORMS[0], False, NEAR_MISSES[change])
    original = vars(module.STFT)["__call__"]
    msp.enable(devices=("mps",))
    assert vars(module.STFT)["__call__"] is original
    assert "mdx_of_somebody.STFT.__call__: unknown version: it" in msp.status().projects["uvr"]


@pytest.mark.thorough
@pytest.mark.parametrize("change", [
    ("        if x_is_mps:\n            x = x.cpu()\n", ""), ('["cuda", "cpu"]', '["cuda", "cpu", "mps"]'),
])  # fmt: skip
def test_classes_that_stay_where_they_are_are_left_alone(change, written):
    module = written(FORMS[0], False, change)
    originals = dict(vars(module.STFT))
    msp.enable(devices=("mps",))
    assert dict(vars(module.STFT)) == originals and "unknown version" not in msp.status().projects["uvr"]


@pytest.mark.thorough
def test_audio_separators_own_copies_are_that_projects(project_folder):
    stand_in.write_audio_separator(project_folder, since_046=False)
    importlib.import_module(f"{stand_in.LIBRARY}.tfc_tdf_v3")
    msp.enable(devices=("mps",))
    states = msp.status().projects
    assert "tfc_tdf_v3.STFT.__call__" in states["audio_separator"] and stand_in.LIBRARY not in states["uvr"]
