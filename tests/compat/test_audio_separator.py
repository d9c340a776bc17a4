"""audio-separator's hooks on a stand-in of it, before and since 0.46: what stays on the device, and what as it was."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from functools import reduce

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.compat import audio_separator
from mps_spectro_patch.compat.tools import complex_support
from mps_spectro_patch.kernels.launch import transforms

from . import stand_in
from .transfers import others, windows

LIBRARY = stand_in.LIBRARY
SINCE_046 = {"up to 0.45": False, "since 0.46": True}
FUNCTIONS = {
    "MDX": lambda: _module("stft").STFT("mps"),
    "MDX, inverse": lambda: _module("stft").STFT("mps").inverse,
    "MDX23C": lambda: _module("tfc_tdf_v3").STFT("mps"),
    "MDX23C, inverse": lambda: _module("tfc_tdf_v3").STFT("mps").inverse,
    "BS-Roformer": lambda: _module("roformer.bs_roformer").BSRoformer(),
    "Mel-Band Roformer": lambda: _module("roformer.mel_band_roformer").MelBandRoformer(),
    "HDemucs": lambda: _module("demucs.hdemucs").HDemucs(),
    "HTDemucs": lambda: _module("demucs.htdemucs").HTDemucs(),
    "a published HDemucs": lambda: importlib.import_module("demucs.hdemucs").HDemucs(),
    "a published HTDemucs": lambda: importlib.import_module("demucs.htdemucs").HTDemucs(),
}


@pytest.fixture(params=SINCE_046)
def since_046(request, project_folder, monkeypatch) -> bool:
    stand_in.write_audio_separator(project_folder, SINCE_046[request.param])
    # As audio-separator does before it loads a Demucs checkpoint: that names top-level classes.
    monkeypatch.syspath_prepend(str(project_folder.joinpath(*LIBRARY.split("."))))
    return SINCE_046[request.param]


def _module(name: str):
    return importlib.import_module(f"{LIBRARY}.{name}")


def _signal(name: str, device: str) -> torch.Tensor:
    shape = (2, 8, 26, 2) if "inverse" in name else (2, 100)
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).sin().reshape(shape).to(device)


def _everything(device: str) -> dict[str, torch.Tensor]:
    return {name: function()(_signal(name, device)) for name, function in FUNCTIONS.items()}


def _twice(name: str, fake_mps) -> tuple[torch.Tensor, list]:
    """The result on MPS, and the transfers of two calls."""
    function, signal, transfers = FUNCTIONS[name](), _signal(name, "mps"), []
    for _ in range(2):
        fake_mps.take()
        result = function(signal)
        transfers.append(fake_mps.take())
    return result, transfers


# Without compat, too, the STFTs are ours, on both devices: torch's own istft cannot run on fake tensors.
FAKE = dict(devices=("mps", "simulator"), on_error="raise", on_fallback="raise")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signals_stay_on_the_device_and_windows_are_copied_once(since_046, fake_mps, name):
    with fake_mps:
        if since_046:  # where the probe ran before, and failed
            assert not _module("device_utils")._supports_complex_spectral_ops("mps", 0)
        with msp.accelerated(**FAKE, compat=False):
            without, transfers = _twice(name, fake_mps)
            assert all(others(one) for one in transfers), "the stand-in does not go over the CPU"
        with msp.accelerated(**FAKE):
            result, transfers = _twice(name, fake_mps)
    assert not any(others(one) for one in transfers)
    assert windows(transfers[0]) >= 1 and windows(transfers[1]) == 0
    assert result.device.type == "mps" and result.shape == without.shape


def test_windows_and_padding_crossed_over_at_every_call_where_spectra_did_not(project_folder, fake_mps):
    stand_in.write_audio_separator(project_folder, since_046=True)
    with fake_mps, msp.accelerated(**FAKE, compat=False):  # under ours the probe succeeds, also on fake tensors
        for name in ("MDX, inverse", "MDX23C, inverse"):
            _, transfers = _twice(name, fake_mps)
            assert [windows(one) for one in transfers] == [1, 1] and all(others(one) for one in transfers)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_torch_has_no_complex_operations_all_goes_over_the_cpu_as_before(since_046, fake_mps, monkeypatch, name):
    monkeypatch.setattr(complex_support, "_supported", {torch.device("mps:0"): False})
    with fake_mps:
        if since_046:
            assert not _module("device_utils")._supports_complex_spectral_ops("mps", 0)
        with msp.accelerated(**FAKE, compat=False):
            _, without = _twice(name, fake_mps)
        with msp.accelerated(**FAKE):
            _, transfers = _twice(name, fake_mps)
    assert [others(one) for one in transfers] == [others(one) for one in without]


def test_a_mask_that_is_no_spectrum_is_applied_on_the_cpu(since_046, fake_mps):
    with fake_mps, msp.accelerated(**FAKE):
        model, audio = _module("demucs.htdemucs").HTDemucs(cac=False), _signal("audio", "mps")
        fake_mps.take()
        assert model(audio).device.type == "mps"
        assert set(transfer.shape for transfer in others(fake_mps.take())) == {(2, 9, 26), (2, 100)}


@pytest.mark.parametrize("imported", ["before", "after"])
def test_numbers_are_the_same_and_disable_restores_by_identity(since_046, device_name, torch_device, imported):
    expected = _everything(torch_device)
    originals = _attributes()
    if imported == "after":
        for name in [name for name in sys.modules if name.partition(".")[0] in ("audio_separator", "demucs")]:
            del sys.modules[name]
    msp.enable(devices=(device_name,), on_error="raise")
    got = _everything(torch_device)
    for name in FUNCTIONS:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-5, atol=1e-5)
    state = msp.status().projects["audio_separator"]
    assert state.startswith("applied") and "librosa" in state
    patched = _attributes()
    assert set(patched) == set(originals) and len(patched) == 23 + since_046
    for name in [name for name in patched if not (since_046 and name.endswith("Demucs.forward"))]:
        assert name in state and patched[name] is not originals[name]
        if imported == "after":
            originals[name] = patched[name].__wrapped__
    assert patched["demucs.spec.spectro"] is patched["demucs.hdemucs.spectro"] is patched["demucs.htdemucs.spectro"]
    msp.disable()
    restored = _attributes()
    assert all(restored[name] is originals[name] for name in originals if name in state)


def _attributes() -> dict[str, Callable]:
    """What stands where compat patches."""
    return {
        f"{hook.module}.{hook.attribute}": reduce(inspect.getattr_static, hook.attribute.split("."), module)
        for hook in audio_separator.PROJECT.hooks
        if (module := sys.modules.get(hook.module))
    }


# --- the probe of 0.46 -----------------------------------------------------------------------------------------------


@pytest.fixture
def probe(project_folder):
    stand_in.write_audio_separator(project_folder, since_046=True)
    return lambda: _module("device_utils")._supports_complex_spectral_ops


def test_an_answer_from_before_the_patch_does_not_count_and_none_stays_behind(probe, fake_mps):
    with fake_mps:
        assert not probe()("mps", 0)
        before = probe()
        msp.enable(devices=("mps",))
        assert probe()("mps", 0) and not probe()("xpu", 0)
        msp.disable()
        assert probe() is before and not probe()("mps", 0)


def test_its_cache_can_be_cleared_and_looked_at_while_it_is_patched(probe):
    original = probe()
    msp.enable(devices=("mps",))
    assert probe() is not original
    probe()("cpu", -1)
    assert probe().cache_info().currsize == 1
    probe().cache_clear()
    assert original.cache_info().currsize == 0 and probe().cache_parameters()["maxsize"] == 32


@pytest.mark.parametrize("reach", ["attribute", "dispatcher"])
def test_an_error_of_ours_is_no_answer(monkeypatch, reach):
    for name in ("stft", "istft", "ready_stft", "ready_istft"):
        monkeypatch.setattr(transforms, name, lambda *arguments: 1 / 0)
    msp.enable(devices=("simulator",), reach=reach, on_error="raise", on_fallback="raise")
    with pytest.raises(ZeroDivisionError):
        torch.stft(torch.ones(64), 16, window=torch.ones(16), return_complex=True)
    assert complex_support._can(torch.device("cpu"))
    msp.disable()


# --- versions that are not known -------------------------------------------------------------------------------------


def _rewrite(folder, file: str, old: str, new: str) -> None:
    path = folder.joinpath(*LIBRARY.split("."), file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(("file", "old", "new", "says"), [
    ("stft.py", '["cuda", "cpu"]', '("cuda", "cpu")', "stft.STFT.__call__: unknown version: it is written in another"),
    ("stft.py", "class STFT", "class Stft", "unknown version: it has no attribute 'STFT'"),
    ("demucs/spec.py", "def spectro", "def other", "spec.spectro: unknown version: it has no attribute 'spectro'"),
    ("tfc_tdf_v3.py", ".to(x.device)", ".to(x)", "tfc_tdf_v3.STFT.inverse: unknown version"),
])  # fmt: skip
def test_another_version_is_told_of_and_left_alone(project_folder, device_name, file, old, new, says):
    stand_in.write_audio_separator(project_folder, since_046=False)
    _rewrite(project_folder, file, old, new)
    if "spec" in file:
        for model in ("hdemucs.py", "htdemucs.py"):
            _rewrite(project_folder, f"demucs/{model}", "import spectro,", "import other as spectro,")
    msp.enable(devices=(device_name,))
    for name in ("stft", "tfc_tdf_v3", "demucs.htdemucs", "roformer.bs_roformer"):
        _module(name)
    state = msp.status().projects["audio_separator"]
    refused, _, applied = state.partition("applied: ")
    assert says in refused and "not patched there" in refused and "BSRoformer.forward" in applied
    assert not any(what in refused for what in applied.split(", "))


def test_a_probe_of_another_name_is_told_of(project_folder):
    stand_in.write_audio_separator(project_folder, since_046=True)
    _rewrite(project_folder, "device_utils.py", "_supports_complex_spectral_ops", "_has_complex_ops")
    msp.enable(devices=("mps",))
    _module("stft")
    state = msp.status().projects["audio_separator"]
    assert "device_utils._supports_complex_spectral_ops: unknown version: it has no attribute" in state


def test_compiled_models_are_patched_as_well(project_folder, torch_device, device_name):
    # Of one version only: dynamo keeps the modules that it meets by their names.
    stand_in.write_audio_separator(project_folder, since_046=True)
    model, audio = _module("demucs.htdemucs").HTDemucs(), _signal("audio", torch_device)
    expected = model(audio)
    msp.enable(devices=(device_name,), on_error="raise")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(audio), expected, rtol=1e-5, atol=1e-5)
    msp.disable()
    torch.testing.assert_close(compiled(audio), expected, rtol=1e-5, atol=1e-5)
