"""compat's engine: what becomes of a project that is there, comes later, is another version, or is only a lookalike."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import types

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch import compat, options, startup
from mps_spectro_patch.compat.tools.overrides import override
from mps_spectro_patch.compat.tools.project import Alias, ClassHook, Hook, Project
from mps_spectro_patch.execution import call_sites
from mps_spectro_patch.patching import class_hooks, module_aliases, projects
from mps_spectro_patch.patching import hooks as patches

MODULE = "a_downstream_project"
NAMES = ("an_absent_package", "an_absent_package.front")
SOURCE = """
import torch

class FrontEnd:
    def __call__(self, x, factor=1):
        return torch.stft(x, 16, 4, window=torch.ones(16), return_complex=True).abs() * factor
"""


def ours(front_end, x, factor=1):
    return None if factor == 2 else torch.zeros(1)


class Given:
    """A compat module with a PROJECT."""

    def __init__(self, *hooks: Hook | ClassHook | Alias, **fields) -> None:
        self.PROJECT = Project("given", hooks, **{"packages": (MODULE,), **fields})


@pytest.fixture
def give(tmp_path, monkeypatch):
    """give(hooks...) makes a project, the only one; its module can be imported."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(options, "PROJECTS", ("given",))
    for module, names in ((patches, ("_declared", "_groups", "_problems", "_skipped")),
                          (class_hooks, ("_declared",)), (module_aliases, ("_declared", "_given")),
                          (projects, ("_declared",)), (call_sites, ("_introduced",))):  # fmt: skip
        for name in names:
            monkeypatch.setattr(module, name, type(getattr(module, name))())

    def given(*hooks: Hook | ClassHook | Alias, **fields) -> None:
        monkeypatch.setitem(sys.modules, "mps_spectro_patch.compat.given", Given(*hooks, **fields))

    yield given
    msp.disable()
    for name in (MODULE, *NAMES):
        sys.modules.pop(name, None)


def call(factor: int = 1) -> torch.Tensor:
    return importlib.import_module(MODULE).FrontEnd()(torch.randn(64), factor)


CALL = Hook(MODULE, "FrontEnd.__call__", override(ours))


def test_every_module_of_compat_is_a_project_and_is_listed():
    here = {info.name for info in pkgutil.iter_modules(compat.__path__)} - {"project"}
    listed = {name for name in here if hasattr(importlib.import_module(f"{compat.__name__}.{name}"), "PROJECT")}
    assert listed == set(compat.NAMES)
    for name in compat.NAMES:
        assert compat.load(name).name == name and compat.load(name).hooks


def test_a_project_that_is_imported_is_patched_at_once_and_restored(give):
    give(CALL)
    module = importlib.import_module(MODULE)
    original = module.FrontEnd.__call__
    patched = msp.enable(devices=("simulator",))
    assert torch.equal(call(), torch.zeros(1)) and call(factor=2).dim() == 2
    assert any("given: applied" in what and "FrontEnd.__call__" in what for what in patched.patched)
    msp.disable()
    assert module.FrontEnd.__call__ is original and not msp.status().projects


def test_a_project_that_comes_later_is_patched_then_and_nothing_is_imported_for_it(give):
    give(CALL)
    msp.enable(devices=("simulator",))
    assert MODULE not in sys.modules and "waits for its import" in msp.status().projects["given"]
    assert torch.equal(call(), torch.zeros(1))
    assert msp.status().projects["given"].startswith("applied")
    assert "given: applied" in str(msp.status())
    msp.disable()
    assert call().dim() == 2 and sys.modules[MODULE].FrontEnd.__call__.__code__.co_filename.endswith(f"{MODULE}.py")


def test_signals_on_other_devices_are_the_projects_business(give):
    give(CALL)
    msp.enable(devices=("cuda",))
    assert call().dim() == 2


def test_a_project_that_is_not_installed(give):
    give(CALL._replace(module="no_such_project.x"), packages=("no_such_project",))
    msp.enable(devices=())
    assert msp.status().projects == {"given": "not installed"}


@pytest.mark.parametrize(("hook", "lacks"), [
    (CALL._replace(attribute="FrontEnd.gone"), "it has no attribute 'gone'"),
    (CALL._replace(attribute="Renamed.__call__"), "it has no attribute 'Renamed'"),
    (CALL._replace(lacks=lambda module: "it has no FrontEnd.hop"), "it has no FrontEnd.hop"),
])  # fmt: skip
def test_a_version_that_is_not_known_is_left_alone_and_says_so_and_its_import_works(give, hook, lacks):
    give(hook)
    msp.enable(devices=("simulator",))
    assert call().dim() == 2
    state = msp.status().projects["given"]
    assert "not patched" in state and f"unknown version: {lacks}" in state


def test_a_maker_that_fails_breaks_nothing(give):
    give(CALL._replace(make=lambda original, active_options: 1 / 0))
    msp.enable(devices=("simulator",))
    assert call().dim() == 2
    assert "ZeroDivisionError" in msp.status().projects["given"]


def test_compat_false_is_none(give):
    give(CALL)
    msp.enable(devices=("simulator",), compat=False)
    assert call().dim() == 2 and not msp.status().projects


def test_modules_that_it_does_not_concern_are_passed_over_in_silence(give, caplog):
    give(CALL._replace(attribute="Singer.__call__", applies_to=lambda module: hasattr(module, "Singer")), packages=())
    module = importlib.import_module(MODULE)
    msp.enable(devices=("simulator",))
    assert msp.status().projects == {"given": "no such class is imported"} and not caplog.records
    msp.disable()
    module.Singer = module.FrontEnd  # it turns out to be the one
    msp.enable(devices=("simulator",))
    assert msp.status().projects["given"].startswith("applied") and torch.equal(call(), torch.zeros(1))


def test_a_module_that_it_does_concern_must_fit(give):
    give(CALL._replace(applies_to=lambda module: True, lacks=lambda module: "it has no hop"))
    msp.enable(devices=("simulator",))
    assert call().dim() == 2 and "unknown version: it has no hop" in msp.status().projects["given"]


# --- known by their structure ----------------------------------------------------------------------------------------

CLASS_HOOK = ClassHook("FrontEnd", "__call__", override(ours), lambda cls: cls.__module__.endswith("project"))


def test_a_class_that_is_imported_under_any_name_is_found(give):
    give(CLASS_HOOK, packages=())
    call()
    msp.enable(devices=("simulator",))
    assert torch.equal(call(), torch.zeros(1))
    assert f"{MODULE}.FrontEnd.__call__" in msp.status().projects["given"]
    msp.disable()
    assert call().dim() == 2


def test_a_class_from_a_file_that_no_import_hook_sees_is_found_by_its_first_call(give, tmp_path):
    give(CLASS_HOOK, packages=())
    msp.enable(devices=("simulator",))
    assert msp.status().projects == {"given": "no such class is imported"}
    spec = importlib.util.spec_from_file_location("loaded_project", tmp_path / f"{MODULE}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    front_end = module.FrontEnd()
    original = module.FrontEnd.__call__
    for _ in range(100):  # other calls do not use up its being looked at
        torch.stft(torch.randn(64), 16, window=torch.ones(16), return_complex=True)
    assert front_end(torch.randn(64)).dim() == 2
    assert torch.equal(front_end(torch.randn(64)), torch.zeros(1))
    msp.disable()
    assert module.FrontEnd.__call__ is original
    msp.enable(devices=("simulator",))
    assert torch.equal(front_end(torch.randn(64)), torch.zeros(1))


def test_another_class_of_that_name_is_left_alone(give):
    give(CLASS_HOOK._replace(recognises=lambda cls: cls.no_such_attribute))
    msp.enable(devices=("simulator",))
    assert call().dim() == 2 and call().dim() == 2


def test_nobody_pays_for_looking_without_such_a_project(give):
    give(CALL)
    msp.enable(devices=("simulator",))
    assert call_sites.observer is None


# --- names that can be imported --------------------------------------------------------------------------------------

ALIASES = (
    Alias(NAMES[0], {"front": "math:floor", "mel_spectrogram": "mps_spectro_patch:mel_spectrogram"}),
    Alias(NAMES[1], {"forward": "math:ceil"}),
)


def is_there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def test_a_name_that_is_not_installed_can_be_imported_while_it_is_on(give):
    import math

    give(*ALIASES, packages=NAMES[:1])
    finders = list(sys.meta_path)
    assert not any(map(is_there, NAMES))
    msp.enable(devices=())
    assert NAMES[0] not in sys.modules and importlib.util.find_spec(NAMES[0]) is not None
    assert msp.status().projects == {"given": f"applied: import {NAMES[0]}"}
    package, front = map(importlib.import_module, NAMES)
    assert package.mel_spectrogram is msp.mel_spectrogram and front.forward is math.ceil
    assert package.front is math.floor and package.__all__ == ["front", "mel_spectrogram"]
    assert not is_there(f"{NAMES[0]}.other")
    with pytest.raises(ImportError):
        exec(f"from {NAMES[0]} import nothing")
    msp.disable()
    assert not any(map(is_there, NAMES)) and sys.meta_path == finders
    assert package.front is math.floor  # whoever has it keeps it
    with msp.accelerated(devices=()):
        assert all(map(is_there, NAMES)) and importlib.import_module(NAMES[0]) is not package
    assert not is_there(NAMES[0]) and sys.meta_path == finders


def test_every_finder_obeys_the_protocol_of_finders(give):
    give(*ALIASES)
    finders = list(sys.meta_path)
    msp.enable(devices=())
    (added,) = [finder for finder in sys.meta_path if finder not in finders]
    assert not isinstance(added, type), "MetaPathFinder's methods are for instances"
    for finder in (*sys.meta_path, startup._Finder):
        assert finder.find_spec("no_such_module_anywhere", None) is None
        getattr(finder, "invalidate_caches", int)()  # may be missing
    importlib.invalidate_caches()
    assert all(map(is_there, NAMES))
    msp.disable()
    importlib.invalidate_caches()
    assert sys.meta_path == finders and not any(map(is_there, NAMES))


def test_a_second_copy_of_the_module_leaves_no_second_finder(give):
    give(*ALIASES)
    finders = list(sys.meta_path)
    msp.enable(devices=())
    spec = importlib.util.find_spec(module_aliases.__name__)
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    copy._declared = module_aliases._declared
    copy.apply_groups()
    (finder,) = [finder for finder in sys.meta_path if finder not in finders]
    assert type(finder) is copy._Finder and all(map(is_there, NAMES))
    msp.disable()
    assert sys.meta_path == finders


def test_a_module_that_is_loaded_lazily_and_cannot_be_is_left_alone(give, monkeypatch):
    class Lazy(types.ModuleType):  # as importlib.util.LazyLoader makes it
        def __getattribute__(self, name):
            raise OSError("not found")

    give(ClassHook("FrontEnd", "__call__", lambda original, _: original, lambda cls: False))
    monkeypatch.setitem(sys.modules, "a_lazy_module", Lazy("a_lazy_module"))
    msp.enable(devices=())


def test_compat_selects_names_too(give):
    give(*ALIASES)
    msp.enable(devices=(), compat=False)
    assert not is_there(NAMES[0])
    msp.enable(devices=())
    assert is_there(NAMES[0])
    msp.enable(devices=(), compat=())
    assert not is_there(NAMES[0])


def test_what_is_installed_wins(give, tmp_path):
    give(*ALIASES, packages=NAMES[:1])
    (tmp_path / NAMES[0]).mkdir()
    (tmp_path / NAMES[0] / "__init__.py").write_text("front = 'the real one'")
    importlib.invalidate_caches()
    msp.enable(devices=())
    assert "not needed: it is installed" in msp.status().projects["given"]
    assert importlib.import_module(NAMES[0]).front == "the real one"
    assert "not needed: it is installed" in msp.status().projects["given"]
    assert not is_there(NAMES[1])  # nor are submodules mixed
    msp.disable()
    assert importlib.import_module(NAMES[0]).front == "the real one"
