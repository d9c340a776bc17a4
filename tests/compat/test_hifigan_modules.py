"""Where HiFi-GAN's mel functions are reached: modules that bound a name before, come later, are loaded again or go."""

# ruff: noqa: F811  (fixtures)

from __future__ import annotations

import copy
import importlib
import pickle
import sys
import types

import pytest
import torch

import mps_spectro_patch as msp

from .conftest import HERE
from .test_hifigan import PACKAGE, SPEECH, audio, module  # noqa: F401  (fixtures)

FOLDER = HERE / "stand_in" / PACKAGE
SPECTROGRAM = ("n_fft", "sampling_rate", "hop_size", "win_size")


@pytest.fixture
def importers(module, monkeypatch):
    """A module that has bound the function of another one, before it is patched."""
    made = types.ModuleType("a_training_script")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    made.mel_spectrogram = made.another_name = module("matcha").mel_spectrogram
    return made


def test_names_in_other_modules_are_reached_and_given_back(importers, module, audio, options, launches):
    original = module("matcha").mel_spectrogram
    msp.enable(**options)
    ours = module("matcha").mel_spectrogram
    assert importers.mel_spectrogram is importers.another_name is ours is not original
    importers.another_name(audio)
    assert len(launches) == 1
    assert f"{PACKAGE}.matcha.mel_spectrogram" in msp.status().projects["hifigan"].partition("applied: ")[2]
    assert pickle.loads(pickle.dumps(ours)) is ours and copy.copy(ours) is ours
    msp.disable()
    assert importers.mel_spectrogram is importers.another_name is module("matcha").mel_spectrogram is original


@pytest.mark.thorough
def test_what_an_object_has_kept_of_before_is_the_original_with_a_fast_stft(module, audio, options, launches):
    kept, expected = module("bigvgan").MelSpec(), module("bigvgan").get_bigvgan_mel_spectrogram(audio)
    msp.enable(**options)
    torch.testing.assert_close(kept(audio), expected, rtol=1e-4, atol=1e-4)
    assert len(launches) == 1 and msp.stats()["stft"].fast == 1
    torch.testing.assert_close(module("bigvgan").MelSpec()(audio), expected, rtol=1e-4, atol=1e-4)
    assert len(launches) == 2 and msp.stats()["stft"].fast == 1
    msp.reset_stats()


@pytest.mark.thorough
def test_a_module_that_is_imported_later_is_reached_after_its_first_call(module, audio, options, launches):
    msp.enable(**options)
    module = module("vits")
    original, bins = module.mel_spectrogram_torch, module.spectrogram_torch
    module.spectrogram_torch(audio, *(SPEECH[name] for name in SPECTROGRAM))
    assert module.mel_spectrogram_torch is not original and module.spectrogram_torch is not bins
    launches.clear()
    module.mel_spectrogram_torch(audio, **SPEECH)
    assert len(launches) == 1
    msp.disable()
    assert module.mel_spectrogram_torch is original and module.spectrogram_torch is bins


@pytest.mark.thorough
def test_a_module_that_is_loaded_again_with_another_formula_is_looked_at_again(stand_in, tmp_path, audio, options):
    stand_in(f"{PACKAGE}.filterbank")
    text = (FOLDER / "matcha.py").read_text().replace("from .filterbank", f"from {PACKAGE}.filterbank")
    (tmp_path / "mel_of_today.py").write_text(text)
    sys.path.insert(0, str(tmp_path))
    try:
        module = importlib.import_module("mel_of_today")
        msp.enable(**options)
        assert hasattr(module.mel_spectrogram, "__wrapped__")
        changed = text.replace("torch.log(", "torch.log10(")
        (tmp_path / "mel_of_today.py").write_text(changed + "\n# longer, so that the old bytecode is none of its own\n")
        importlib.reload(module)
        for again in (lambda: None, msp.disable, lambda: msp.enable(**options)):
            again()
            assert not hasattr(module.mel_spectrogram, "__wrapped__")
        assert "mel_of_today.mel_spectrogram: unknown version: it uses log10" in msp.status().projects["hifigan"]
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["mel_of_today"]


def test_patches_of_modules_that_are_gone_are_forgotten_and_names_are_looked_at_once(on, monkeypatch):
    """However many copies there are, a scope looks at the names of all modules no more often."""
    from mps_spectro_patch.patching import early_names, hooks

    monkeypatch.syspath_prepend(HERE / "stand_in")
    text = (FOLDER / "hifigan.py").read_text().replace("from .", f"from {PACKAGE}.")
    modules = [types.ModuleType(f"somebodys_vocoder_{number}") for number in range(4)]
    for one in modules:
        monkeypatch.setitem(sys.modules, one.__name__, one)
        exec(text, vars(one))
    originals = [one.mel_spectrogram for one in modules]
    with msp.accelerated(**on):  # the first one declares them
        assert all(one.mel_spectrogram is not own for one, own in zip(modules, originals, strict=True))
    looks, namespaces = [], early_names.namespaces

    def counted():
        looks.append(1)
        return namespaces()

    monkeypatch.setattr(early_names, "namespaces", counted)
    with msp.accelerated(**on):
        assert all(one.mel_spectrogram is not own for one, own in zip(modules, originals, strict=True))
    assert [one.mel_spectrogram for one in modules] == originals
    assert len(looks) <= 4, "one look for classes and functions, one for names bound early, and one to put these back"
    assert sum("somebodys_vocoder" in str(patch) for patch in hooks._declared.values()) == 4
    for one in modules:
        monkeypatch.delitem(sys.modules, one.__name__)
    with msp.accelerated(**on):
        assert not any("somebodys_vocoder" in str(patch) for patch in hooks._declared.values())
