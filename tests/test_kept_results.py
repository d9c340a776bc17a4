"""Results that are kept for the kernels' texts are those of the texts in the tree; each says how it is made again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mps_spectro_patch.kernels import text_digest

ROOT = Path(__file__).parents[1]
_SWEEP = "python -m tests.conformance.sweep --jobs 8 --write benchmarks/results/metal-conformance.md"
MADE_BY = {
    "apple-machine-code.csv": "python -m benchmarks.apple_code ROOT --write",
    "apple-machine-code.md": "python -m benchmarks.apple_code ROOT --write",
    "metal-conformance.md": _SWEEP,
    "nvidia-h200-limits.md": "python benchmarks/limits.py --write",
    "nvidia-sanitizers.md": "python benchmarks/sanitizers.py --write",
}


# Pages that wait for a run, and of which text they are. Meanwhile the representatives and a draw of all sources are
# checked in every run (conformance/test_sources.py), and races on the simulator (kernels/test_hazards.py).
OWED: dict[str, str] = {}


def digests(text: str) -> list[str]:
    return re.findall(r"Metal text ([0-9a-f]{16})", text)


@pytest.mark.thorough
@pytest.mark.parametrize("name", MADE_BY)
def test_kept_results_are_of_the_texts_in_the_tree(name):
    found = digests((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))
    assert found == [OWED.get(name, text_digest())], f"{name} is of other kernels: {MADE_BY[name]}"


@pytest.mark.thorough
def test_so_are_the_cycles_that_predictions_are_made_of():
    kept = json.loads((ROOT / "mps_spectro_patch" / "bench" / "apple_cycles.json").read_text(encoding="utf-8"))
    assert kept["text"] == text_digest(), MADE_BY["apple-machine-code.csv"]


def test_a_page_says_of_which_text_it_is():
    for name in MADE_BY:
        text = (ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8")
        assert len(digests(text)) == 1, name
