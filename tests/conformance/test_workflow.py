"""The macOS workflow, as far as Linux can tell: a valid workflow, and every step's commands are ones that work."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mps_spectro_patch.cli import commands

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MACOS = yaml.safe_load((ROOT / ".github" / "workflows" / "macos.yml").read_text())
JOB = MACOS["jobs"]["apple"]
STEPS = JOB["steps"]
COMMANDS = [step for step in STEPS if "run" in step]


def lines(step: dict) -> list[str]:
    return step["run"].replace("${{ matrix.torch }}", "2.13").splitlines()


def test_the_matrix_is_that_of_the_supported_releases_on_apple_silicon():
    assert JOB["strategy"]["matrix"]["torch"] == ["2.7", "2.9", "2.11", "2.13", "2.14"]
    assert re.fullmatch(r"macos-1[4-9]", JOB["runs-on"])  # from 14 on GitHub's runners are arm64
    assert JOB["strategy"]["fail-fast"] is False and JOB["timeout-minutes"] <= 120


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_expressions_name_what_exists(path):
    for name, job in yaml.safe_load(path.read_text())["jobs"].items():
        text = yaml.dump(job)
        ids = {step["id"] for step in job["steps"] if "id" in step}
        for step, output in re.findall(r"steps\.(\w+)\.outputs\.(\w+)", text):
            assert step in ids, (name, step)
            writer = next(s for s in job["steps"] if s.get("id") == step)
            assert f"{output}=" in writer["run"] and "GITHUB_OUTPUT" in writer["run"]
        for key in re.findall(r"matrix\.(\w+)", text):
            matrix = job["strategy"]["matrix"]
            assert key in matrix or all(key in combination for combination in matrix["include"])
        assert text.count("${{") == text.count("}}")
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/checkout@v4"))


def test_it_does_what_it_is_for():
    every = "\n".join(step["run"] for step in COMMANDS)
    for needed in ("tests/conformance", "test_contract.py", 'pytest -m "" tests\n', "doctor --json", "demo"):
        assert needed in every + "\n", needed
    upload = next(step for step in STEPS if step.get("uses", "").startswith("actions/upload-artifact"))
    assert upload["with"]["path"].rstrip("/") in re.search(r"doctor --json > (\w+)/", every)[1]
    assert "cancelled()" in upload["if"] and "matrix.torch" in upload["with"]["name"]  # names must differ within a run
    on_gpu = [step for step in COMMANDS if step.get("env", {}).get("MPS_SPECTRO_TEST_DEVICE") == "mps"]
    assert len(on_gpu) == 2 and all("steps.gpu.outputs.mps == 'true'" in step["if"] for step in on_gpu)


@pytest.mark.parametrize("step", COMMANDS, ids=lambda step: step.get("name", "step").replace(" ", "-"))
def test_a_steps_commands_can_run(step):
    subprocess.run(["bash", "-n", "-c", "\n".join(lines(step))], check=True)
    for line in lines(step):
        words = shlex.split(line.split("|")[0].split(">")[0])
        if words[:2] == ["python", "-c"]:
            ast.parse(words[2])
        elif words[:3] == ["python", "-m", "pytest"]:
            assert all((ROOT / word).exists() for word in words[3:] if "/" in word or word == "tests")
        elif words[:3] == ["python", "-m", "mps_spectro_patch"]:
            if words[3] == "doctor" and "doctor" not in commands._parser().format_help():
                pytest.skip("the doctor is not part of the command line yet")
            assert commands._parser().parse_args(words[3:]).command
        elif words[:4] == ["python", "-m", "pip", "install"]:
            extras = re.search(r"\[([\w,]+)\]", line)
            known = (ROOT / "pyproject.toml").read_text()
            assert extras is None or all(f"\n{name} = [" in known for name in extras[1].split(","))
        else:
            assert words[0] in ("mkdir", "cp"), line


def test_the_first_step_with_python_prints_what_the_others_wait_for(tmp_path):
    step = next(step for step in STEPS if step.get("id") == "gpu")
    output = tmp_path / "output"
    output.touch()
    environment = {"GITHUB_OUTPUT": str(output), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run(["bash", "-e", "-c", step["run"]], check=True, env=environment, capture_output=True)
    assert re.fullmatch(r"mps=(true|false)\n", output.read_text())
