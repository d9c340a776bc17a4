"""The README says what is true: its Python runs, its commands are the ones that CI runs, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = "\n".join([README, *(page.read_text(encoding="utf-8") for page in DOCS)])
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGES, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_python_snippet_runs_in_a_process_of_its_own(snippet, tmp_path, monkeypatch, run_python, forker):
    monkeypatch.chdir(tmp_path)
    strict = "import warnings\nwarnings.simplefilter('error', RuntimeWarning)\n"
    run_python(snippet, prelude=strict, forker=forker)


def test_there_are_two_commands_of_one_line_and_each_does_its_own_set_up():
    assert len(COMMANDS) == 2
    for command in COMMANDS:
        assert command.count("\n") == 1 and command.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")


def test_ci_runs_both_commands_as_the_readme_gives_them():
    endings = re.findall(r"^readme '(.*)'$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    for command in COMMANDS:
        assert sum(command.rstrip("\n").endswith(ending) for ending in endings) == 1


def test_every_option_of_enable_is_in_the_table():
    import inspect

    import mps_spectro_patch as msp

    options = set(inspect.signature(msp.enable).parameters)
    assert {name for name in re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)} == options


def test_links_to_files_of_the_repository_lead_to_files():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links and all((ROOT / link).exists() for link in links)
    for page in DOCS:
        links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if "://" not in link]
        assert all((page.parent / link).exists() for link in links), page
