"""The README's tables of speed, and the prediction that is kept, are what the results and the code say."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[2] / "benchmarks" / "readme.py"
_SPEC = importlib.util.spec_from_file_location("benchmarks_readme", _PATH)
readme = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(readme)
DATA = json.loads(readme.KEPT.read_text(encoding="utf-8"))
README = (readme.ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_says_what_the_results_say():
    assert readme.with_block(README, readme.block(DATA)) == README, "run python benchmarks/readme.py"


def test_the_kept_prediction_is_the_code_s():
    assert readme.PREDICTION.read_text(encoding="utf-8") == readme.prediction.table(), "run python benchmarks/readme.py"


def test_the_whole_table_beside_it_is_made_from_the_same_results():
    assert readme.KEPT.with_suffix(".md").read_text(encoding="utf-8") == readme.tables.markdown(DATA)


def test_another_result_would_be_another_readme():
    other = copy.deepcopy(DATA)
    row = next(row for row in other["rows"] if row["op"] == "istft" and row["n_fft"] == 8192)
    row["by"]["ours"]["device"]["median"] *= 1.2
    assert readme.with_block(README, readme.block(other)) != README


def test_every_shape_that_the_readme_shows_was_measured():
    shown = re.findall(r"^\| (\d+) x ([\d,]+) samples, n_fft (\d+), hop (\d+) \|", README, re.MULTILINE)
    assert len(shown) == len(readme.SHAPES)
    mel = re.findall(r"^\| (?:log-mel|mamba_amt|Whisper|MuQ|RMVPE)", README, re.MULTILINE)
    assert len(mel) >= 6


@pytest.mark.parametrize("stale", [False, True])
def test_check_is_the_exit_status_and_writes_nothing(stale, tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text(README.replace("x) |", "y) |", 1) if stale else README, encoding="utf-8")
    before = (tmp_path / "README.md").read_text(encoding="utf-8")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["readme.py", "--check"])
    assert readme.main() == int(stale) and (tmp_path / "README.md").read_text(encoding="utf-8") == before
    monkeypatch.setattr(sys, "argv", ["readme.py"])
    assert readme.main() == 0 and (tmp_path / "README.md").read_text(encoding="utf-8") == README
