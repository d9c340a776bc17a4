"""What the wheel holds: everything the package needs at run time, under one top-level name."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from .installed import PARTS, ROOT, build_sdist, build_wheel


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


def test_no_extra_decides_which_torch_there_is(wheel):
    """Builds of torch ask for one version of NVIDIA's packages: an upper bound of ours would bring another torch."""
    metadata = wheel.read("mps_spectro_patch-0.1.0.dist-info/METADATA").decode()
    needs = re.findall(r"^Requires-Dist: ((?:cuda|nvidia|triton)[^;]*)", metadata, re.MULTILINE)
    assert len(needs) >= 3 and not [need for need in needs if re.search("[<=~]=?[0-9.]+", need.replace(">=", ""))]


def test_a_build_on_github_knows_where_the_repository_is(tmp_path):
    path = build_wheel(tmp_path, GITHUB_SERVER_URL="https://git.example", GITHUB_REPOSITORY="we/us")
    metadata = zipfile.ZipFile(path).read("mps_spectro_patch-0.1.0.dist-info/METADATA").decode()
    urls = dict(re.findall(r"^Project-URL: (\w+), (\S+)$", metadata, re.MULTILINE))
    assert urls["Repository"] == "https://git.example/we/us" and urls["Issues"].endswith("we/us/issues")
    links = re.findall(r"\]\(([^)]+)\)", metadata)
    assert len(links) > 10 and all(link.startswith(("#", "https://")) for link in links)
    assert "(https://git.example/we/us/blob/v0.1.0/docs/patch.md#turning-it-off)" in metadata
    assert "git clone https://git.example/we/us " in metadata


def test_a_build_elsewhere_has_the_readme_as_it_is(wheel):
    metadata = wheel.read("mps_spectro_patch-0.1.0.dist-info/METADATA").decode()
    assert metadata.endswith((ROOT / "README.md").read_text(encoding="utf-8")) and "Project-URL" not in metadata


def test_the_source_distribution_holds_what_the_tests_need(tmp_path):
    path = build_sdist(tmp_path)
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("tests", "docs", "integration_tests", "benchmarks", "kernels", "compat", "examples", "mps_spectro_patch")
    for folder in (*folders, ".ci", ".github"):
        assert files_under(ROOT / folder) - names == set()
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "setup.py", "MANIFEST.in"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_twine_finds_nothing_wrong(wheel):
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", wheel.filename]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


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
