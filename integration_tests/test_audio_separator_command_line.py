"""`audio-separator` as it is installed, accelerated from outside: by an environment variable, and by `run`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mps_spectro_patch import autoload
from mps_spectro_patch.demo import AUDIO

PIP = 'pip install "audio-separator[cpu]"'
package = pytest.importorskip("audio_separator", reason=PIP)
soundfile = pytest.importorskip("soundfile", reason=PIP)
separator_models = pytest.importorskip("separator_models", reason=PIP)

# Python runs it at its start, and the program knows nothing of it: what became of its calls.
WITNESS = """
import atexit, json, os

def tell():
    import mps_spectro_patch as msp
    stats = {op: [count.fast, sum(count.fallback.values())] for op, count in msp.stats().items()}
    with open(os.environ["WITNESS"], "w") as file:
        json.dump({"enabled": msp.is_enabled(), "stats": stats, "projects": msp.status().projects}, file)

atexit.register(tell)
"""
CALLS = 4  # of either op: two blocks of audio, once with the program's second look at it


@pytest.fixture(scope="module")
def program() -> str:
    script = Path(sysconfig.get_path("scripts")) / "audio-separator"
    if not script.exists():
        pytest.skip(f"no {script}: {PIP} in the environment of this interpreter")
    return str(script)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("command_line")
    separator_models.write(folder / "models")
    audio, rate = soundfile.read(AUDIO, frames=3 * 44100, start=44100)
    soundfile.write(folder / "mix.wav", audio, rate, subtype="PCM_16")
    (folder / "witness").mkdir()
    (folder / "witness" / "sitecustomize.py").write_text(WITNESS)
    return folder


def run(folder: Path, command: list[str], **environment: str) -> tuple[dict[str, str], str, dict]:
    """(stem -> digest of its samples, what was printed, what the witness saw)."""
    out, seen = folder / "out", folder / "seen.json"
    command = [*command, str(folder / "mix.wav"), "--model_filename", separator_models.MODELS["MDX, onnxruntime"],
               "--model_file_dir", str(folder / "models"), "--output_dir", str(out), "--use_soundfile"]  # fmt: skip
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MPS_SPECTRO_PATCH")}
    environment = {**inherited, "WITNESS": str(seen), "PYTHONPATH": str(folder / "witness"), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    stems = {}
    for file in sorted(out.iterdir()):
        stems[file.name] = soundfile.read(file)[0]
        file.unlink()
    assert len(stems) == 2, done.stderr[-3000:]
    return stems, done.stderr, json.loads(seen.read_text())


def same(stems: dict, expected: dict) -> bool:
    """Up to the last bit of 16, where rounding can fall either way."""
    differences = [abs(stems[name] - expected[name]).max() for name in expected]
    return stems.keys() == expected.keys() and max(differences) < 1.5 / 2**15


@pytest.fixture(scope="module")
def plain(folder, program) -> dict:
    stems, _, seen = run(folder, [program])
    assert not seen["enabled"]
    return stems


@pytest.fixture(autouse=True)
def _its_files_stay_as_they_are():
    def digest() -> str:
        files = sorted(Path(package.__file__).parent.rglob("*.py"))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

    before = digest()
    yield
    assert digest() == before


def test_an_environment_variable_accelerates_it(folder, program, plain):
    if not autoload.installed():
        pytest.skip("the .pth file is not installed: python -m mps_spectro_patch autoload on")
    variables = dict(MPS_SPECTRO_PATCH="1", MPS_SPECTRO_PATCH_DEVICES="simulator", MPS_SPECTRO_PATCH_ON_ERROR="raise")
    stems, _, seen = run(folder, [program], **variables)
    assert same(stems, plain) and seen["enabled"]
    assert seen["stats"] == {"stft": [CALLS, 0], "istft": [CALLS, 0]}
    assert seen["projects"]["audio_separator"].startswith("applied to audio-separator")


def test_run_accelerates_it(folder, program, plain):
    command = [sys.executable, "-m", "mps_spectro_patch", "run", "--devices", "simulator", "--stats", program]
    stems, printed, seen = run(folder, command)
    assert same(stems, plain)
    assert seen["stats"] == {"stft": [CALLS, 0], "istft": [CALLS, 0]}
    assert f"{CALLS} calls" in printed and "stft.py" in printed
