"""What the wheel holds: everything the package needs at run time, under one top-level name."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from .installed import PARTS, ROOT, build_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel")))


def files_under(folder: Path) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_only_top_level_names_are_the_package_and_its_metadata(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert top == {"mps_spectro_patch", "mps_spectro_patch-0.1.0.dist-info", "mps_spectro_patch_autoload.pth"}


@pytest.mark.parametrize("part", PARTS[1:])
def test_every_file_of_a_mapped_folder_is_in_the_wheel(wheel, part):
    expected = {f"mps_spectro_patch/{name}" for name in files_under(ROOT / part)}
    assert expected <= set(wheel.namelist())


@pytest.mark.parametrize(
    "name",
    [
        "kernels/metal/kernels/stft.metal",
        "kernels/metal/fft/stockham.metal",
        "bench/seed_approach.metal",
        "kernels/compilers/cxx/metal_stdlib",
        "kernels/compilers/cxx/simulator.cpp",
        "examples/denoise.py",
        "examples/audio/guitar_on_vinyl.wav",
        "examples/audio/README.md",
        "py.typed",
    ],
)
def test_the_wheel_holds(wheel, name):
    assert f"mps_spectro_patch/{name}" in wheel.namelist()


def test_the_console_script_is_the_command_line(wheel):
    entry_points = wheel.read("mps_spectro_patch-0.1.0.dist-info/entry_points.txt").decode()
    assert "mps-spectro-patch = mps_spectro_patch.cli:main" in entry_points


def test_torch_and_wrapt_are_all_it_needs_at_run_time(wheel):
    metadata = wheel.read("mps_spectro_patch-0.1.0.dist-info/METADATA").decode()
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert [re.match(r"Requires-Dist: ([\w-]+)", need)[1] for need in needs] == ["torch", "wrapt"]


def test_the_version_is_the_same_everywhere():
    import mps_spectro_patch

    assert f'version = "{mps_spectro_patch.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"## {mps_spectro_patch.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_recording_is_pcm_of_16_bits_and_at_most_a_megabyte():
    import wave

    path = ROOT / "examples" / "audio" / "guitar_on_vinyl.wav"
    assert path.stat().st_size <= 1_000_000
    with wave.open(str(path)) as file:
        assert file.getsampwidth() == 2 and file.getnchannels() == 2
