"""Patches of other modules' functions: applied when, and only when, the module is imported; taken out by identity."""

from __future__ import annotations

import functools
import sys

import pytest

import mps_spectro_patch as msp
from mps_spectro_patch.patching import hooks

MODULE = "a_project_that_is_patched"
SOURCE = """
def f(x, factor=1):
    return x * factor

class Model:
    def run(self):
        return "theirs"
"""


def make_f(original, active_options):
    def f(x, factor=1):
        return ("ours", x * factor) if active_options() else original(x, factor)

    return f


def make_run(original, active_options):
    def run(self):
        return "ours" if active_options() else original(self)

    return run


def make_trouble(original, active_options):
    raise RuntimeError("no such thing")


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    declared = dict(hooks._declared)
    yield
    hooks._declared.clear()
    hooks._declared.update(declared)
    sys.modules.pop(MODULE, None)


@pytest.fixture
def wanted(project, monkeypatch):
    """Options as enable(torchaudio=True) makes them, for a group of patches that only these tests know."""
    hooks.declare("torchaudio", MODULE, "f", make_f)
    hooks.declare("torchaudio", MODULE, "Model.run", make_run)
    return {"torchaudio": True, "devices": ()}


def project_module():
    import importlib

    return importlib.import_module(MODULE)


def test_a_module_that_is_imported_already_is_patched_at_once_and_restored_by_identity(wanted):
    module = project_module()
    f, run = module.f, module.Model.run
    patched = msp.enable(**wanted)
    assert module.f(2, factor=3) == ("ours", 6) and module.Model().run() == "ours"
    assert f"{MODULE}.f" in patched.patched and msp.status().patched[f"{MODULE}.Model.run"] == "patched"
    msp.disable()
    assert module.f is f and module.Model.run is run and f"{MODULE}.f" not in msp.status().patched


def test_a_module_is_patched_when_it_is_imported_and_not_imported_for_that(wanted):
    patched = msp.enable(**wanted)
    assert MODULE not in sys.modules
    assert (f"{MODULE}.f", "waits for the import") in patched.skipped
    module = project_module()
    assert module.f(2) == ("ours", 2)
    msp.disable()
    assert module.f(2) == 2 and module.f.__module__ == MODULE


def test_a_module_that_is_imported_after_disable_is_left_alone(wanted):
    msp.enable(**wanted)
    msp.disable()
    module = project_module()
    assert module.f(2) == 2 and module.f.__code__.co_filename == module.__file__  # not ours, inert
    msp.enable(**wanted)
    assert project_module().f(2) == ("ours", 2)
    msp.disable()


def test_enable_twice_patches_once(wanted):
    module = project_module()
    msp.enable(**wanted)
    ours = module.f
    msp.enable(**wanted)
    assert module.f is ours
    msp.disable()


def test_a_module_that_is_loaded_again_is_patched_again_by_the_next_enable(wanted):
    import importlib

    module = project_module()
    msp.enable(**wanted)
    importlib.reload(module)
    msp.enable(**wanted)
    assert module.f(1) == ("ours", 1)
    msp.disable()
    assert module.f(1) == 1


def test_a_scope_acts_for_the_code_inside_only(wanted):
    module = project_module()
    with msp.accelerated(**wanted):
        assert module.f(1) == ("ours", 1)
        with msp.accelerated(devices=()):
            assert module.f(1) == 1
    assert module.f(1) == 1


def test_somebody_elses_wrapper_stays(wanted):
    module = project_module()
    msp.enable(**wanted)
    inner = module.f

    @functools.wraps(inner)
    def theirs(*args):
        return "theirs", inner(*args)

    module.f = theirs
    msp.disable()
    assert module.f is theirs and module.f(1) == ("theirs", 1)


def test_what_is_not_there_is_skipped_with_the_reason_and_the_import_works(project, caplog):
    hooks.declare("torchaudio", MODULE, "gone", make_f)
    hooks.declare("torchaudio", MODULE, "f", make_trouble)
    msp.enable(torchaudio=True, devices=())
    assert project_module().f(1) == 1
    assert "no attribute 'gone'" in msp.status().patched[f"{MODULE}.gone"]
    assert "could not be patched" in caplog.text and "no such thing" in caplog.text
    msp.disable()


def test_one_attribute_is_declared_once(project):
    patch = hooks.declare("torchaudio", MODULE, "f", make_f)
    assert hooks.declare("torchaudio", MODULE, "f", make_f) == patch
    with pytest.raises(ValueError, match="declared already"):
        hooks.declare("other", MODULE, "f", make_run)


def test_a_patch_of_two_groups_stays_while_one_of_them_is_wanted(project):
    for group in ("torchaudio", "other"):
        hooks.declare(group, MODULE, "f", make_f)
    module = project_module()
    f = module.f
    hooks.apply_groups({"other"})
    assert module.f is not f
    hooks.apply_groups({"torchaudio", "other"})
    hooks.apply_groups({"torchaudio"})
    assert module.f is not f
    hooks.apply_groups(())
    assert module.f is f


def test_a_module_that_does_not_fit_is_left_alone_and_says_what_it_lacks(project):
    hooks.declare("torchaudio", MODULE, "f", make_f, lacks=lambda module: "no g()")
    module = project_module()
    f = module.f
    msp.enable(torchaudio=True, devices=())
    assert module.f is f and "unknown version: no g()" in msp.status().patched[f"{MODULE}.f"]
    msp.disable()
