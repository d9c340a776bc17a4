"""A virtual environment with the wheel in it, and torch from this one: for tests of what an installation does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("mps_spectro_patch", "kernels", "compat", "examples")


def build_wheel(folder: Path, **variables: str) -> Path:
    return _build("wheel", PARTS, folder, variables)


def build_sdist(folder: Path) -> Path:
    others = ("benchmarks", "docs", "integration_tests", "tests", ".ci", ".github")
    return _build("sdist", (*PARTS, *others), folder, {})


def _build(kind: str, parts: tuple[str, ...], folder: Path, variables: dict[str, str]) -> Path:
    """From a copy, so that no build folder appears in the checkout. Needs no network, as pip would."""
    copy = folder / "checkout"
    for part in parts:
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / file, copy)
    command = [sys.executable, "-c", f"from setuptools import build_meta; print(build_meta.build_{kind}('dist'))"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    result = subprocess.run(command, cwd=copy, capture_output=True, text=True, env={**environment, **variables})
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (copy / "dist").iterdir()
    return path


@dataclass
class Environment:
    """A virtual environment. run() starts its interpreter without this package's variables, but with those given."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        (path,) = self.folder.glob("lib/python*/site-packages")
        return path

    def run(self, *arguments: str | Path, check: bool = True, cwd: Path | None = None, **variables: str):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MPS_SPECTRO_PATCH")}
        result = subprocess.run([self.python, *arguments], capture_output=True, text=True, env={**kept, **variables},
                                cwd=cwd or self.folder)  # fmt: skip
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    def pip(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr


def make_environment(folder: Path, wheel: Path) -> Environment:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    environment = Environment(folder)
    environment.pip("install", "--quiet", "--no-deps", "--no-index", wheel)
    # An entry in a .pth file goes behind the wheel, and brings nothing that is installed there in editable form.
    folders = (path for path in sys.path if path.endswith("site-packages"))
    (environment.packages / "torch_of_the_tests.pth").write_text("\n".join(folders))
    return environment
