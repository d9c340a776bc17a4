"""The two tiers: nothing is in neither, and the first has every value of every parameter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import tiers

SOME = """
import pytest
from tests import tiers

@pytest.mark.parametrize("size", tiers.one_of_each(range(10, 16), lambda n: {n % 2, "large" if n > 13 else "small"}))
def test_size(size): pass

@pytest.mark.parametrize("a", [1, 2, 3])
@pytest.mark.parametrize("b, c", [("x", 1), ("x", 2), ("y", 1), ("y", 2)])
@pytest.mark.parametrize("d", tiers.some("pq", "p"))
def test_combinations(a, b, c, d): pass

@pytest.fixture(params=["left", "right"])
def side(request): return request.param

@pytest.mark.parametrize("a", [1, 2])
def test_with_a_fixture(a, side): pass

def test_plain(): pass

@pytest.mark.thorough
def test_long(): pass
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """By what is given to -m, None being nothing: the names of the tests that pytest would run."""
    folder = tmp_path_factory.mktemp("tiers")
    (folder / "test_some.py").write_text(SOME)
    (folder / "conftest.py").write_text("from tests.tiers import pytest_collection_modifyitems\n")
    root = Path(__file__).parents[1]

    def collect(expression: str | None) -> list[str]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            f"--rootdir={root}",
            f"-c{root / 'pyproject.toml'}",
        ]
        command += [str(folder)] if expression is None else ["-m", expression, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.rpartition("::")[2] for line in done.stdout.splitlines() if "::" in line]

    return {expression: collect(expression) for expression in (None, tiers.FIRST, tiers.SECOND, "")}


def test_the_first_tier_is_what_pytest_runs_by_itself(collected):
    assert collected[None] == collected[tiers.FIRST]


def test_every_test_is_in_one_tier(collected):
    first, second = collected[tiers.FIRST], collected[tiers.SECOND]
    assert sorted(first + second) == sorted(collected[""]) and not set(first) & set(second)
    assert len(collected[""]) == 6 + 3 * 4 * 2 + 4 + 2


def test_one_of_each_kind_is_in_the_first(collected):
    assert [name for name in collected[None] if "size" in name] == ["test_size[10]", "test_size[11]", "test_size[14]"]


def test_every_value_is_in_the_first_and_rows_of_several_are_one_value(collected):
    names = [name for name in collected[None] if "combinations" in name]
    values = [name.removeprefix("test_combinations[")[:-1].split("-") for name in names]
    assert {(b, c) for _, b, c, _ in values} == {("x", "1"), ("x", "2"), ("y", "1"), ("y", "2")}
    assert {a for *_, a in values} == {"1", "2", "3"} and {d for d, *_ in values} == {"p"} and len(values) == 4
    assert len([name for name in collected[None] if "fixture" in name]) == 2


def test_a_test_that_says_so_is_in_the_second(collected):
    assert "test_long" in collected[tiers.SECOND] and "test_plain" in collected[tiers.FIRST]


@pytest.mark.parametrize("cases, chosen", [
    ([{1}, {2}, {3}], {0, 1, 2}), ([{1, 3}, {1, 4}, {2, 3}, {2, 4}], {0, 3}), ([{1, 2}, {1, 2}], {0}), ([], set()),
])  # fmt: skip
def test_few_cases_cover_every_value(cases, chosen):
    assert tiers.covering(cases) == chosen


def test_an_unknown_first_value_is_an_error():
    with pytest.raises(AssertionError):
        tiers.some([1, 2], [3])
