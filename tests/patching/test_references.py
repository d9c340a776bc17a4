"""reach="references": names that other modules bound early are found, replaced and restored; else they are listed."""

from __future__ import annotations

import importlib.util
import sys
import types

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.patching import early_names

OWN = {"stft": torch.stft, "istft": torch.istft}  # not as names of this module: those would be replaced, too


@pytest.fixture
def program():
    """A module that did `from torch import stft, istft as back` before anything was enabled."""
    module = types.ModuleType("a_program_that_was_early")
    exec("from torch import stft, istft as back\ndefault = [stft]", module.__dict__)
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def transform(program, signal):
    return program.stft(signal.x, 400, 160, 400, signal.window, return_complex=True)


def test_early_names_are_missed_by_default_and_listed(program, signal, on):
    patched = msp.enable(**on)
    transform(program, signal)
    names = {"a_program_that_was_early.stft", "a_program_that_was_early.back"}
    status = msp.status()
    msp.disable()
    assert program.stft is OWN["stft"] and msp.stats()["stft"].calls == 0
    assert names <= set(status.early_references) and "missed: a_program_that_was_early.stft" in str(status)
    assert names <= {what for what, why in patched.skipped if "bound before enable()" in why}
    assert names <= set(msp.status().early_references)  # when off, too: this is what enable() would miss


def test_references_are_replaced_and_restored_by_identity(program, signal, on):
    patched = msp.enable(**on, reach="references")
    assert program.stft is torch.stft is not OWN["stft"] and program.back is torch.istft is not OWN["istft"]
    torch.testing.assert_close(transform(program, signal), signal.spectrum, rtol=1e-4, atol=1e-4)
    assert msp.stats()["stft"].fast == 1
    assert "a_program_that_was_early.back" in patched.patched
    assert not [name for name in msp.status().early_references if name.startswith("a_program")]
    msp.disable()
    assert program.stft is OWN["stft"] and program.back is OWN["istft"] and torch.stft is OWN["stft"]


def test_what_torch_itself_holds_stays(program, on):
    msp.enable(**on, reach="references")
    assert vars(torch.functional)["stft"] is OWN["stft"] and torch._VF.istft is OWN["istft"]
    msp.disable()


def test_a_name_that_the_program_changed_meanwhile_is_left_alone(program, on):
    msp.enable(**on, reach="references")
    program.stft = mine = lambda *args: None
    msp.disable()
    assert program.stft is mine and program.back is OWN["istft"]


def test_names_bound_while_enabled_are_torchs_own_afterwards(on):
    module = types.ModuleType("a_program_that_came_later")
    sys.modules[module.__name__] = module
    try:
        msp.enable(**on, reach="references")
        exec("from torch import stft", module.__dict__)
        assert module.stft is not OWN["stft"]
        msp.disable()
        assert module.stft is OWN["stft"]
    finally:
        del sys.modules[module.__name__]


def test_only_the_chosen_ops_are_replaced(program, on):
    msp.enable(**on, ops="istft", reach="references")
    assert program.stft is OWN["stft"] and program.back is not OWN["istft"]
    msp.enable(**on, reach="attribute")
    assert program.stft is OWN["stft"] and program.back is OWN["istft"]
    msp.disable()


def test_a_scope_replaces_them_while_it_is_open_and_acts_only_inside(program, signal, on):
    with msp.accelerated(**on, reach="references"):
        assert program.stft is not OWN["stft"]
        transform(program, signal)
        with msp.accelerated(devices=()):
            transform(program, signal)
    assert program.stft is OWN["stft"] and msp.stats()["stft"].fast == 1


def test_a_name_bound_to_a_wrapper_that_was_there_before_us_is_an_early_reference(program, on):
    def earlier(*args, **kwargs):
        return OWN["stft"](*args, **kwargs)

    torch.stft = program.stft = earlier
    msp.enable(**on, reach="references")
    assert program.stft is torch.stft is not earlier
    msp.disable()
    assert program.stft is torch.stft is earlier
    torch.stft = OWN["stft"]


def test_looking_for_references_wakes_no_lazy_module(tmp_path):
    (tmp_path / "lazy_one.py").write_text("raise RuntimeError('woken')")
    spec = importlib.util.spec_from_file_location("lazy_one", tmp_path / "lazy_one.py")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules["lazy_one"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        assert not [found for found in early_names.bound_to(OWN["stft"]) if found.module == "lazy_one"]
    finally:
        del sys.modules["lazy_one"]


def test_what_is_not_a_module_in_sys_modules_is_passed_over():
    sys.modules["not_a_module"] = None
    try:
        early_names.bound_to(OWN["stft"])
    finally:
        del sys.modules["not_a_module"]


class Unlike:
    """A wrapper of somebody's that says it equals anything, and cannot be hashed."""

    __hash__ = None

    def __eq__(self, other):
        return True

    def __call__(self, *args, **kwargs):
        return OWN["stft"](*args, **kwargs)


@pytest.mark.thorough
@pytest.mark.parametrize("reach", ["attribute", "references"])
def test_names_are_told_apart_by_identity(reach, on, monkeypatch):
    module = types.ModuleType("somebodys")
    module.bound, module.other = Unlike(), Unlike()
    monkeypatch.setitem(sys.modules, "somebodys", module)
    monkeypatch.setattr(torch, "stft", module.bound)
    bound, other = module.bound, module.other
    done = msp.enable(**on, reach=reach)
    told = [what for what in (*done.patched, *dict(done.skipped)) if what.startswith("somebodys.")]
    assert told == ["somebodys.bound"] and module.other is other
    assert (module.bound is torch.stft) == (reach == "references")
    msp.disable()
    assert module.bound is bound is torch.stft and module.other is other
