"""Functions compiled again from their source: only what was asked for changes, and only in versions that are known."""

from __future__ import annotations

import importlib
import inspect
import sys

import pytest
import torch

from mps_spectro_patch.compat.tools.recompiled import Recompiled

SOURCE = '''
"""A module."""
from __future__ import annotations

FACTOR = 10


def plain(x, offset=1, *, scale: Undefined = 2):
    """Its text."""
    far = x.numel() > 100
    return x * (3 if far else FACTOR) * scale + offset


class Holder:
    def method(self, x):
        far = x.numel() > 100
        if far:
            raise ValueError("far")
        return x

    @property
    def decorated(self):
        far = x.numel() > 100


def closed(y):
    def inner(x):
        far = x.numel() > y
        return far
    return inner


of_a_closure = closed(1)
of_a_lambda = lambda x: x.numel() > 100
'''
LINE = "far = x.numel() > 100"
CHANGED = Recompiled({LINE: "far = msp_far(x)"}, msp_far=lambda x: True)


class Options:
    device_types = ("cpu",)


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "to_be_changed.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("to_be_changed")
    del sys.modules["to_be_changed"]


def make(function, recompiled=CHANGED, options=Options):
    return recompiled.make(function, lambda: options)


X = torch.ones(2)


def test_the_line_is_another_and_all_else_is_the_same(module):
    changed = make(module.plain)
    assert float(module.plain(X)[0]) == 21 and float(changed(X)[0]) == 7
    assert float(changed(X, 5, scale=1)[0]) == 8
    assert changed.__doc__ == "Its text." and inspect.signature(changed) == inspect.signature(module.plain)
    assert make(module.Holder.method).__qualname__ == "Holder.method"


def test_the_modules_names_are_those_of_the_moment(module):
    other = Recompiled({LINE: "far = False"})
    changed = make(module.plain, other)
    module.FACTOR = 100
    assert float(changed(X)[0]) == 201
    assert "msp_far" not in vars(module)


def test_the_original_answers_where_nobody_asked_for_ours(module):
    assert float(make(module.plain, options=None)(X)[0]) == 21
    assert float(make(module.plain)(X.to("meta").new_ones(2, device="cpu"))[0]) == 7
    assert make(module.plain)(torch.ones(2, device="meta")).device.type == "meta"


def test_tracebacks_name_the_line_of_the_file(module):
    with pytest.raises(ValueError, match="far") as raised:
        make(module.Holder.method)(module.Holder(), X)
    frame = raised.traceback[-1]
    assert str(frame.path).endswith("to_be_changed.py")
    assert frame.lineno + 1 == SOURCE.split("\n").index('            raise ValueError("far")') + 1


def test_a_version_without_changes_is_the_original(module):
    assert make(module.plain, Recompiled({LINE: LINE})) is module.plain


def test_the_first_version_that_fits_is_taken(module):
    versions = Recompiled({"not there": "x"}, {LINE: "far = True", "* scale": "* scale * 2"}, {LINE: "far = False"})
    assert float(make(module.plain, versions)(X)[0]) == 13


@pytest.mark.parametrize(("attribute", "lacks"), [
    ("plain", None),
    ("Holder.method", None),
    ("gone", None),  # which the engine says
    ("of_a_closure", "it is not a plain function"),
    ("of_a_lambda", "it has no source that can be read"),
    ("FACTOR", "it is not a plain function"),
    ("Holder.decorated", "it is not a plain function"),
])  # fmt: skip
def test_what_a_version_lacks_is_said(module, attribute, lacks):
    told = CHANGED.lacks(attribute, module)
    assert told is None if lacks is None else told.startswith(lacks)


@pytest.mark.parametrize("fragment", ["nowhere", "x"])
def test_a_fragment_must_be_there_exactly_once(module, fragment):
    assert Recompiled({fragment: "y"}).lacks("plain", module) == "it is written in another way"


def test_a_file_that_was_changed_since_is_not_believed(module):
    with open(module.__file__, "w") as file:
        file.write(SOURCE.replace("x * (3", "x * (4"))
    assert CHANGED.lacks("plain", module) == "it is not what its file says"


def test_a_file_that_is_gone_has_no_source(module, tmp_path):
    (tmp_path / "to_be_changed.py").unlink()
    assert CHANGED.lacks("plain", module).startswith("it has no source")


def test_somebody_elses_wrapper_is_not_taken_for_what_it_wraps(module):
    import functools

    original = module.plain

    @functools.wraps(original)
    def wrapper(*arguments, **options):
        return original(*arguments, **options)

    module.plain = wrapper
    assert CHANGED.lacks("plain", module) == "it is not a plain function"


def test_what_is_ours_already_still_fits(module):
    module.plain = make(module.plain)
    assert CHANGED.lacks("plain", module) is None
