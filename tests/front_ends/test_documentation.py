"""docs/mel.md, docs/losses.md and docs/graphs.md say what is true: their Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TEXT = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("mel.md", "losses.md", "graphs.md"))
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_snippet_runs(snippet):
    exec(compile(snippet, "docs", "exec"), {})


def test_every_public_front_end_is_named():
    import mps_spectro_patch as msp
    from mps_spectro_patch import front_ends

    names = set(msp.__all__) & set(front_ends.__all__)
    assert len(names) == 18 and all(name in TEXT for name in names)
