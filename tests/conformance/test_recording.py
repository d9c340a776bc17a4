"""The recorder where libclang is missing: silent about nothing, and in nobody's way on a machine with a GPU."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import conftest

HERE = Path(__file__).parent
LAUNCHES = """
import torch
from mps_spectro_patch.kernels.launch import dispatch, transforms as library
from mps_spectro_patch.kernels.plans.geometry import StftGeometry

def test_a_launch(monkeypatch):
    monkeypatch.setitem(dispatch.SAMPLE_TYPES, torch.float16, "float")  # a launch that does not fit
    library.stft(torch.zeros(2, 99).half(), torch.ones(16), StftGeometry(2, 99, 16, 4, 16, 8, "reflect", False))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, torch_forker):
    """Runs one test that launches what does not fit its kernel, in a process with or without libclang."""

    def run(device: str, with_libclang: bool) -> tuple[int, str]:
        (tmp_path / "test_some.py").write_text(LAUNCHES)
        code = "import sys\n" + ("" if with_libclang else "sys.modules['clang'] = None\n")
        code += f"import pytest\nsys.exit(pytest.main(['-p', 'tests.conftest', {str(tmp_path)!r}]))"
        monkeypatch.setenv("MPS_SPECTRO_TEST_DEVICE", device)
        monkeypatch.chdir(HERE.parents[1])
        if torch_forker is None:
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr
        exit_code, *printed = torch_forker.run(code, dict(os.environ), timeout=300)
        return exit_code, "".join(printed)

    return run


def test_with_libclang_a_launch_that_does_not_fit_fails_on_any_device(run):
    code, output = run("cuda", True)
    assert code == 1 and "does not fit it" in output and "libclang is not installed" not in output


def test_without_it_a_machine_with_a_gpu_runs_its_tests_and_the_header_says_what_is_not_done(run):
    code, output = run("cuda", False)
    assert code == 0 and "1 passed" in output
    assert "libclang is not installed: launches are NOT compared with their kernels" in output


def test_without_it_the_simulator_runs_no_tests_at_all(run):
    code, output = run("simulator", False)
    assert code == 4 and "pip install -e '.[test]'" in output and "passed" not in output


def test_the_files_that_are_left_out_are_those_that_need_it():
    """By what they import of this folder, directly or not."""

    def imported(path: Path) -> set[str]:
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level == 1 or node.module == "tests.conformance"):
                found |= {node.module} if node.level == 1 and node.module else {alias.name for alias in node.names}
            elif isinstance(node, (ast.Import, ast.ImportFrom)) and "clang" in ast.unparse(node):
                found.add("clang")
        return found

    needs = {path.stem: imported(path) for path in HERE.glob("*.py")}
    del needs["recording"]  # imports when it is needed
    before = None
    while before != (before := {name for name, found in needs.items() if "clang" in found}):
        for found in needs.values():
            found |= {"clang"} if found & before else set()
    assert sorted(f"{name}.py" for name in before if name.startswith("test_")) == conftest._NEED_LIBCLANG
