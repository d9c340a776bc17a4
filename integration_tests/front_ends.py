"""What the tests of mel front ends share: the device, signals, an installation to run programs in, and no network."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import wave
from pathlib import Path

import pytest
import torch

import mps_spectro_patch as msp
from tests.cli.installed import build_wheel, make_environment
from tests.front_ends.conftest import launches  # noqa: F401

ROOT = Path(__file__).parent.parent
DEVICE_NAME = os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")
DEVICE = {"simulator": "cpu", "cuda": "cuda:0", "mps": "mps:0"}[DEVICE_NAME]
OFFLINE = """
import socket
def refuse(*_): raise OSError("a test must not use the network")
socket.socket.connect = refuse
"""


def refuse(*_):
    raise OSError("a test must not use the network")


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    for name in [name for name in os.environ if name.startswith("MPS_SPECTRO_PATCH")]:
        monkeypatch.delenv(name)
    torch.manual_seed(0)
    yield
    msp.disable()


def accelerated(**options):
    """verify="off": the comparison of first calls would run the kernels' composition as well."""
    return msp.accelerated(devices=(DEVICE_NAME,), on_error="raise", **{"verify": "off", **options})


def sweep(seconds: float, rate: int = 16_000, low: float = 110.0, high: float = 880.0) -> torch.Tensor:
    """[samples]: a tone of eight harmonics that glides from low to high, as loud as 0.5, and a little noise (decibels
    of nothing at all are a matter of rounding)."""
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    phase = 2 * math.pi * torch.cumsum(low * (high / low) ** (time / seconds), 0) / rate
    tone = sum(torch.sin(number * phase) / number for number in range(1, 9))
    noise = torch.randn(tone.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (tone / tone.abs().max() / 2 + 0.003 * noise).float()


def recording(seconds: float) -> tuple[torch.Tensor, int]:
    """[samples] and their rate: the recording that comes with the demo, a guitar, mixed down to one channel."""
    return read_wav(next((ROOT / "examples" / "audio").glob("*.wav")), seconds)


def read_wav(path: Path, seconds: float = math.inf) -> tuple[torch.Tensor, int]:
    """[samples] of a file with 16 bits per sample, mixed down to one channel, and their rate."""
    with wave.open(str(path)) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        frames = file.readframes(int(min(seconds * rate, file.getnframes())))
    samples = torch.frombuffer(bytearray(frames), dtype=torch.int16).float() / 32768
    return samples.reshape(-1, channels).mean(1), rate


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    assert got.shape == expected.shape and got.dtype == expected.dtype and got.device == expected.device
    return float((got.double() - expected.double()).norm() / expected.double().norm())


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """An environment in which this package is installed as from a wheel, with the .pth file, beside what is here."""
    folder = tmp_path_factory.mktemp("installed")
    return make_environment(folder / "venv", build_wheel(folder))


def both_ways(program: Path, installed, *arguments: str) -> dict[str, str]:
    """What the program prints under MPS_SPECTRO_PATCH=1, under `python -m mps_spectro_patch run`, and by itself."""
    devices = dict(MPS_SPECTRO_PATCH_DEVICES=DEVICE_NAME)
    before = program.read_bytes()
    printed = {
        "variable": installed.run(program, *arguments, MPS_SPECTRO_PATCH="1", **devices).stdout,
        "run": installed.run("-m", "mps_spectro_patch", "run", program, *arguments, **devices).stdout,
        "by itself": installed.run(program, *arguments).stdout,
    }
    assert program.read_bytes() == before
    return printed


def python(program: str, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", OFFLINE + program]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
