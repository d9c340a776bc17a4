"""The tests do without what the extras have for Linux alone: skipped are those about it, and no others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import bare, like_mps

ROOT = Path(__file__).parents[1]
FILES = ("test_contract", "test_compile_shader", "test_cuda_unit", "test_kernel_text")


def test_the_list_of_it_is_pyprojects_and_the_workflows():
    found = re.findall(r'"([\w-]+)[^";]*; sys_platform == \'linux\'"', (ROOT / "pyproject.toml").read_text())
    assert set(found) == set(bare.MODULES)
    (uninstall,) = re.findall(r"pip uninstall --yes (.*)", (ROOT / ".github" / "workflows" / "linux.yml").read_text())
    assert set(found) <= set(uninstall.split())


def test_the_list_alone_hides_nothing():
    assert all(sys.modules.get(module, "") is not None for module in bare.MODULES.values())


@pytest.mark.thorough
@pytest.mark.skipif(like_mps.wanted(), reason="the simulator does for this")
def test_every_test_is_collected_and_what_is_about_it_is_skipped_and_says_why():
    command = [sys.executable, "-m", "pytest", "-p", "tests.bare", "-p", "no:cacheprovider", "-q", "-rs", "-n0"]
    command += ["-m", "not thorough", "-k", " or ".join(FILES), "tests"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    missing = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED") and "could not import" in line]
    assert missing and all("'cuda.bindings'" in line for line in missing)
