"""`audio-separator` as it is installed, accelerated from outside: by an environment variable, and by `run`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import command_line
import numpy
import pytest

from mps_spectro_patch.cli.demo import AUDIO

PIP = 'pip install "audio-separator[cpu]"'
package = pytest.importorskip("audio_separator", reason=PIP)
soundfile = pytest.importorskip("soundfile", reason=PIP)
separator_models = pytest.importorskip("separator_models", reason=PIP)

DEVICE_NAME = os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")
CALLS = {"stft": [4, 0], "istft": [4, 0]}  # two blocks of audio, each looked at twice


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("command_line")
    separator_models.write(folder / "models")
    audio, rate = soundfile.read(AUDIO, frames=3 * 44100, start=44100)
    soundfile.write(folder / "mix.wav", audio, rate, subtype="PCM_16")
    return folder


@pytest.fixture(autouse=True)
def _its_files_stay_as_they_are():
    before = command_line.digest(package)
    yield
    assert command_line.digest(package) == before


def separate(folder: Path, *before: str, **environment: str) -> tuple[dict[str, numpy.ndarray], command_line.Seen]:
    """The stems. before: what stands before the program's name."""
    program = command_line.script("audio-separator", PIP)
    command = [*before, program, str(folder / "mix.wav"), "--model_filename", "random_mdx.onnx", "--model_file_dir",
               str(folder / "models"), "--output_dir", str(folder / "out"), "--use_soundfile"]  # fmt: skip
    seen = command_line.run(command, folder, **environment)
    stems = {}
    for file in sorted((folder / "out").iterdir()):
        stems[file.name] = soundfile.read(file)[0]
        file.unlink()
    assert len(stems) == 2, seen.printed
    return stems, seen


@pytest.fixture(scope="module")
def plain(folder) -> dict[str, numpy.ndarray]:
    stems, seen = separate(folder)
    assert not seen.enabled
    return stems


def assert_same(stems: dict[str, numpy.ndarray], expected: dict[str, numpy.ndarray]) -> None:
    """Up to the last bit of 16, where rounding can fall either way."""
    assert stems.keys() == expected.keys()
    for name, stem in stems.items():
        assert abs(stem - expected[name]).max() < 1.5 / 2**15 < 0.01 < abs(stem).max()


def test_an_environment_variable_accelerates_it(folder, plain):
    stems, seen = separate(folder, **command_line.by_environment(DEVICE_NAME))
    assert_same(stems, plain)
    assert seen.enabled and seen.stats == CALLS
    assert seen.projects["audio_separator"].startswith("applied to audio-separator")


def test_run_accelerates_it(folder, plain):
    run = (sys.executable, "-m", "mps_spectro_patch", "run", "--devices", DEVICE_NAME, "--stats")
    stems, seen = separate(folder, *run)
    assert_same(stems, plain)
    assert seen.stats == CALLS
    assert "4 calls" in seen.printed and "stft.py" in seen.printed
