"""What the command line tests share: a short cut of the recording, and running the demo in this process."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from mps_spectro_patch.cli import commands, demo


@pytest.fixture(scope="session")
def second_of_music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of the recording that comes with the demo: the first strokes of the guitar, both channels."""
    path = tmp_path_factory.mktemp("audio") / "second.wav"
    with wave.open(str(demo.AUDIO), "rb") as source, wave.open(str(path), "wb") as cut:
        cut.setparams(source.getparams())
        source.setpos(int(0.4 * source.getframerate()))
        cut.writeframes(source.readframes(source.getframerate()))
    return path


@pytest.fixture
def run_demo(device_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the demo command with these arguments; returns its exit code, what it printed and what it complained."""

    def run(*arguments: object) -> tuple[int, str, str]:
        words = ["demo", *map(str, arguments), "--out", str(tmp_path / "out")]
        if "--device" not in arguments:
            words += ["--device", device_name]
        code = commands.main(words)
        return code, *capsys.readouterr()

    return run
