"""docs/maintaining.md names files and functions: all of them are there, and each step has one file."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "maintaining.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|\.pth))`", TEXT)))
STEPS = re.findall(r"^\| (\d+) \| `([^`]+)` \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_is_named_is_there(path):
    assert any((folder / path).is_file() for folder in (ROOT, ROOT / "mps_spectro_patch"))


def test_each_step_has_a_number_and_one_file():
    assert [int(number) for number, _ in STEPS] == list(range(1, 11))
    assert len({file for _, file in STEPS}) == len(STEPS)
    assert all((ROOT / file).is_file() for _, file in STEPS)


def test_every_room_is_in_the_table():
    folders = {path.parent.name for path in ROOT.glob("mps_spectro_patch/*/__init__.py")} | {"compat", "kernels"}
    table = TEXT[TEXT.index("## The rooms") : TEXT.index("## One call")]
    assert all(re.search(rf"`(?:mps_spectro_patch/)?{folder}`", table) for folder in folders)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("patching.entry", ("make_stft", "make_istft")),
        ("active", ("process", "options_here")),
        ("execution.runner", ("call", "call_front_end")),
        ("execution.call_cache", ("find", "launched", "clear", "entries")),
        ("routing", ("decide", "decide_compiled")),
        ("execution.launches", ("prepare",)),
        ("pending", ("catch_up",)),
        ("patching.install", ("enable", "disable")),
    ],
)
def test_a_function_that_a_step_speaks_of_is_there(module, names):
    found = importlib.import_module(f"mps_spectro_patch.{module}")
    assert all(hasattr(found, name) for name in names)
