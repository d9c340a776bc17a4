"""What a type checker says to a program that uses this package: nothing to a right one, each fault of a wrong one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import mps_spectro_patch as msp
from mps_spectro_patch import options

from .installed import PARTS, ROOT

GOOD = """
import torch
import mps_spectro_patch as msp
from mps_spectro_patch import accelerated, enable

done = enable(devices=("mps", "cuda"), reach="references", verify="always", compat=("muq",), torchaudio=True)
enable(devices="simulator", ops=["stft"], compat=False, on_error="raise", on_fallback="quiet")
patched: tuple[str, ...] = done.patched
msp.disable()
on: bool = msp.is_enabled()


@accelerated(devices=["mps"])
def half(number: int) -> float:
    return number / 2


result: float = half(3)
with msp.accelerated(on_fallback="raise"):
    fast: int = msp.stats()["stft"].fast
words: str = str(msp.explain(torch.stft, torch.zeros(400), 64)) + str(msp.report()) + msp.__version__
mel = msp.LogMelSpectrogramTransform(sample_rate=16_000, n_fft=400, hop_length=160, norm="slaney", log_mode="add")
other = msp.MelSpectrogramTransform(sample_rate=16_000, n_fft=400, hop_length=160, pad=3, normalized="window")
features: torch.Tensor = msp.mel_spectrogram(torch.zeros(4000), sample_rate=8000, n_fft=400, hop_length=160, n_mels=40)
library = msp.kernels.compile_shader("", "mps")


@msp.fuse
def louder(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@msp.fuse(verify="off")
def quieter(x: torch.Tensor) -> torch.Tensor:
    return x / 2


both: torch.Tensor = louder(quieter(torch.zeros(3)))
layer: torch.nn.Linear = msp.fuse(torch.nn.Linear(2, 2))
"""
BAD = """
import mps_spectro_patch as msp
msp.enabel()
msp.enable(devises=("mps",))
msp.enable(devices=("gpu",))
msp.enable(devices="mps,cuda")
msp.enable(ops=("fft",))
msp.enable(reach="everything")
msp.enable(verify="of")
msp.enable(on_error="ignore")
msp.enable(on_fallback="quite")
msp.enable(compat=("muk",))
msp.accelerated(verify="of")
msp.fuse(verify="of")
msp.fuse(lambda x: x)(1, 2)
msp.accelerated()(lambda number: number)(1, 2)
msp.stats()["stft"].slow
msp.LogMelSpectrogramTransform(sample_rate=1, n_fft=400, hop_length=160, n_mel=80)
msp.MelSpectrogramTransform(sample_rate=1, n_fft=400, hop_length=160, padding=80)
msp.CompatMelSpectrogramTransform(mel_scale="bark")
msp.melscale_fbanks(n_freqs=3, f_min=0, f_max=1, n_mels=2, sample_rate=2, norm="area")
msp.kernels.compile_shader("", "gpu")
msp.kernels.compile("", "mps")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The package as an installation lays it out, where checkers follow no .pth file."""
    site = tmp_path_factory.mktemp("site")
    for part in PARTS:
        place = site / PARTS[0] if part == PARTS[0] else site / PARTS[0] / part
        shutil.copytree(ROOT / part, place, ignore=shutil.ignore_patterns("__pycache__", "*.metal", "*.wav"))
    (site / "good.py").write_text(GOOD.lstrip())
    (site / "bad.py").write_text(BAD.lstrip())
    return site


def check(checker: str, site: Path) -> dict[str, set[int]]:
    """File -> lines with errors. torch is not read: that takes a minute."""
    pytest.importorskip(checker)
    command = [sys.executable, "-m", checker]
    if checker == "mypy":
        command += ["--strict", "--no-site-packages", "--ignore-missing-imports", "--cache-dir", str(site / ".cache")]
    done = subprocess.run([*command, "good.py", "bad.py"], cwd=site, capture_output=True, text=True)
    if checker == "pyright" and "error" not in done.stdout:
        pytest.skip("pyright cannot be had here")
    found: dict[str, set[int]] = {"good.py": set(), "bad.py": set()}
    for line in done.stdout.splitlines():
        error = re.match(r"\s*(?:\S*/)?(good\.py|bad\.py):(\d+).* error: (.*)", line)
        if error and "could not be resolved" not in error[3]:
            found[error[1]].add(int(error[2]))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_checkers_find_misspelt_names_and_options_and_nothing_else(checker, site):
    found = check(checker, site)
    assert found["good.py"] == set()
    assert found["bad.py"] == set(range(2, BAD.count("\n")))


def test_the_types_of_options_are_what_is_accepted():
    hints = typing.get_type_hints(msp.enable) | typing.get_type_hints(msp.accelerated.__init__)
    for name, values in options.CHOICES.items():
        (choice, _) = typing.get_args(hints[name])
        assert typing.get_args(choice) == values
    assert set(options.ACCELERATORS) == set(typing.get_args(options.Device))


def test_a_decorated_function_keeps_its_signature():
    @msp.accelerated()
    def half(number: int) -> float:
        "Half of it."
        return number / 2

    assert typing.get_type_hints(half) == {"number": int, "return": float} and half.__doc__ == "Half of it."
